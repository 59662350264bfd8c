//! Queries whose conditions depend on what is asked.

use std::fmt::Write;

use rusqlite::{CachedStatement, Connection, Rows, ToSql};

use super::failure::Failure;

/// SQL text with the values of its parameters. Only fixed texts get into the SQL.
pub(super) struct Query<'a> {
    sql: String,
    values: Vec<(&'static str, &'a dyn ToSql)>,
}

impl<'a> Query<'a> {
    /// `sql` ends within a `WHERE`.
    pub(super) fn new(sql: impl Into<String>, values: &[(&'static str, &'a dyn ToSql)]) -> Self {
        Self { sql: sql.into(), values: values.to_vec() }
    }

    /// Adds `left :name`, if there is a value: `query.and("kind =", ":kind", kind.as_ref())`.
    pub(super) fn and<T: ToSql>(&mut self, left: &str, name: &'static str, value: Option<&'a T>) -> &mut Self {
        if let Some(value) = value {
            let _ = write!(self.sql, " AND {left} {name}");
            self.values.push((name, value));
        }
        self
    }

    /// Adds SQL with its parameters.
    pub(super) fn push(&mut self, sql: &str, values: &[(&'static str, &'a dyn ToSql)]) {
        self.sql.push_str(sql);
        self.values.extend(values);
    }

    pub(super) fn prepare<'c>(&self, connection: &'c Connection) -> Result<CachedStatement<'c>, Failure> {
        Ok(connection.prepare_cached(&self.sql)?)
    }

    pub(super) fn rows<'s>(&self, statement: &'s mut CachedStatement<'_>) -> Result<Rows<'s>, Failure> {
        Ok(statement.query(&*self.values)?)
    }
}
