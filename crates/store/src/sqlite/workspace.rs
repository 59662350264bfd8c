//! Rows of workspaces.

use async_trait::async_trait;
use longshore_protocol::sandbox::SandboxOptions;
use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use super::{
    Sqlite,
    codec::{Codec, micros, one_more, signed, time_from},
    failure::Failure,
};
use crate::{
    Error, Owner, Page,
    workspaces::{WorkspaceRow, WorkspaceRows},
};

/// The columns that [`read`] reads.
const COLUMNS: &str = "id, owner, created_at, working_dir, options";

#[async_trait]
impl WorkspaceRows for Sqlite {
    async fn create_workspace(&self, workspace: WorkspaceRow, most: u64) -> Result<bool, Error> {
        let options = self.codec.encode(&workspace.options)?;
        self.writer
            .write(move |connection| {
                let insert = "INSERT INTO workspace (id, owner, created_at, working_dir, options) \
                     SELECT ?1, ?2, ?3, ?4, ?5 WHERE (SELECT count(*) FROM workspace WHERE owner = ?2) < ?6 \
                     ON CONFLICT DO NOTHING";
                let values = params![
                    workspace.id.into_bytes(),
                    &*workspace.owner.0,
                    micros(workspace.created_at),
                    workspace.working_dir,
                    options,
                    signed(most),
                ];
                Ok(connection.prepare_cached(insert)?.execute(values)? > 0)
            })
            .await
    }

    async fn workspace(&self, owner: &Owner, id: Uuid) -> Result<Option<WorkspaceRow>, Error> {
        let (codec, owner) = (self.codec.clone(), owner.clone());
        self.readers
            .read(move |connection| {
                let select = format!("SELECT {COLUMNS} FROM workspace WHERE id = ?1 AND owner = ?2");
                let mut statement = connection.prepare_cached(&select)?;
                let mut rows = statement.query(params![id.into_bytes(), &*owner.0])?;
                rows.next()?.map(|row| read(row, &codec)).transpose()
            })
            .await
    }

    async fn workspaces(&self, owner: &Owner, from: Option<Uuid>, limit: usize) -> Result<Page<WorkspaceRow>, Error> {
        let (codec, owner) = (self.codec.clone(), owner.clone());
        self.readers
            .read(move |connection| {
                let start: Option<i64> = match from {
                    Some(from) => connection
                        .prepare_cached("SELECT created_at FROM workspace WHERE id = ?1 AND owner = ?2")?
                        .query_row(params![from.into_bytes(), &*owner.0], |row| row.get(0))
                        .optional()?,
                    None => None,
                };
                let select = format!(
                    "SELECT {COLUMNS} FROM workspace WHERE owner = ?1 \
                     AND (?2 IS NULL OR (created_at, id) >= (?2, ?3)) ORDER BY created_at, id LIMIT ?4"
                );
                let mut statement = connection.prepare_cached(&select)?;
                let values = params![&*owner.0, start, from.map(Uuid::into_bytes), one_more(limit)];
                let mut rows = statement.query(values)?;
                let mut page = Page { items: Vec::new(), next: None };
                while let Some(row) = rows.next()? {
                    let workspace = read(row, &codec)?;
                    if page.items.len() == limit {
                        page.next = Some(workspace.id.to_string());
                        break;
                    }
                    page.items.push(workspace);
                }
                Ok(page)
            })
            .await
    }

    async fn set_workspace_options(&self, owner: &Owner, id: Uuid, options: SandboxOptions) -> Result<bool, Error> {
        let (options, owner) = (self.codec.encode(&options)?, owner.clone());
        self.writer
            .write(move |connection| {
                let update = "UPDATE workspace SET options = ?3 WHERE id = ?1 AND owner = ?2";
                let values = params![id.into_bytes(), &*owner.0, options];
                Ok(connection.prepare_cached(update)?.execute(values)? > 0)
            })
            .await
    }

    async fn delete_workspace(&self, owner: &Owner, id: Uuid) -> Result<bool, Error> {
        let owner = owner.clone();
        self.writer
            .write(move |connection| {
                let delete = "DELETE FROM workspace WHERE id = ?1 AND owner = ?2";
                Ok(connection.prepare_cached(delete)?.execute(params![id.into_bytes(), &*owner.0])? > 0)
            })
            .await
    }
}

fn read(row: &Row<'_>, codec: &Codec) -> Result<WorkspaceRow, Failure> {
    let id = Uuid::from_bytes(row.get(0)?);
    let what = || format!("the workspace {id}");
    Ok(WorkspaceRow {
        id,
        owner: Owner(row.get::<_, String>(1)?.into()),
        created_at: time_from(row.get(2)?, what)?,
        working_dir: row.get(3)?,
        options: codec.decode(&row.get::<_, String>(4)?, what)?,
    })
}
