//! Whoever can write to the files cannot change the audit log unseen.

use std::{fs, path::Path};

use longshore_store::{Audit, AuditEntry, AuditLog, AuditProblem, AuditQuery, AuditVerdict, Sqlite, Store};
use rusqlite::{Connection, types::Value};
use tempfile::TempDir;

use crate::{
    samples,
    sqlite::{Opened, database, keys, open},
};

const RECORDS: i64 = 5;

/// What protects the table from whoever does not know what it is.
const NO_TRIGGERS: &str = "DROP TRIGGER IF EXISTS audit_no_update; DROP TRIGGER IF EXISTS audit_no_delete; \
     DROP TRIGGER IF EXISTS audit_no_gap; PRAGMA ignore_check_constraints = on;";

/// A folder with a closed store that has some records.
async fn filled() -> TempDir {
    let opened = Opened::new();
    for second in 1..=RECORDS {
        opened.store().append_audit(vec![samples::audit(second, "ann", "a.b")]).await.unwrap();
    }
    opened.close().await
}

async fn verify(folder: &TempDir) -> AuditVerdict {
    verify_from(folder, 1).await
}

async fn verify_from(folder: &TempDir, from: u64) -> AuditVerdict {
    let log = AuditLog::open(&database(folder), Some(keys("first"))).unwrap();
    log.verify(from, &|_, _| {}).await.unwrap()
}

fn change(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(&format!("{NO_TRIGGERS} {sql}")).unwrap();
}

#[tokio::test]
async fn any_changed_bit_of_any_column_names_its_record() {
    let folder = filled().await;
    let connection = Connection::open(database(&folder)).unwrap();
    connection.execute_batch(NO_TRIGGERS).unwrap();
    let columns: Vec<String> = connection
        .prepare("SELECT name FROM pragma_table_info('audit')")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let log = AuditLog::open(&database(&folder), Some(keys("first"))).unwrap();
    let mut flips = 0;
    for column in columns {
        let select = format!("SELECT {column}, typeof({column}) FROM audit WHERE seq = 3");
        let (value, kind): (Value, String) =
            connection.query_row(&select, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        // What was not there can be put there.
        let changed: Vec<Value> = match &value {
            Value::Null => vec![Value::Integer(1)],
            Value::Integer(number) => (0..64).map(|bit| Value::Integer(number ^ (1 << bit))).collect(),
            Value::Text(text) => flipped(text.as_bytes()).collect(),
            Value::Blob(bytes) => flipped(bytes).collect(),
            Value::Real(_) => panic!("no column holds such a number"),
        };
        for new in changed {
            let cast = if kind == "text" { "CAST(?1 AS TEXT)" } else { "?1" };
            let update = connection.execute(&format!("UPDATE audit SET {column} = {cast} WHERE seq = 3"), [&new]);
            // Two records cannot have one position.
            if column == "seq" && update.is_err() {
                continue;
            }
            update.unwrap();
            let problem = log.verify(1, &|_, _| {}).await.unwrap().problem;
            let named = problem.as_ref().map(|problem| problem.seq);
            // A record that moved is missing where it was, or where the log begins if it moved before that.
            let expected = if column == "seq" && matches!(new, Value::Integer(seq) if seq < 1) { 1 } else { 3 };
            assert_eq!(named, Some(expected), "{column} = {new:?}: {problem:?}");
            let moved = if column == "seq" { new } else { Value::Integer(3) };
            let undo = format!("UPDATE audit SET {column} = ?1 WHERE seq = ?2");
            assert_eq!(connection.execute(&undo, [&value, &moved]).unwrap(), 1);
            flips += 1;
        }
    }
    assert!(flips > 1000, "only {flips}");
    assert_eq!(log.verify(1, &|_, _| {}).await.unwrap().problem, None, "all is as it was");
}

fn flipped(bytes: &[u8]) -> impl Iterator<Item = Value> {
    (0..bytes.len() * 8).map(|bit| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        Value::Blob(bytes)
    })
}

#[tokio::test]
async fn records_cannot_be_changed_or_removed_by_mistake() {
    let folder = filled().await;
    let connection = Connection::open(database(&folder)).unwrap();
    for sql in [
        "UPDATE audit SET actor = 'bob' WHERE seq = 3",
        "DELETE FROM audit WHERE seq = 3",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT 3, at, 'bob', key, address, request, action, target_kind, target, owner, status, \
         details, removed, previous, hash FROM audit WHERE seq = 3",
        "INSERT INTO audit SELECT 9, at, actor, key, address, request, action, target_kind, target, owner, status, details, \
         removed, previous, hash FROM audit WHERE seq = 3",
    ] {
        let error = connection.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains("records of the audit log"), "{sql}: {error}");
    }
    assert_eq!(verify(&folder).await.problem, None);
}

#[tokio::test]
async fn missing_records_are_named() {
    for (sql, named) in [
        ("DELETE FROM audit WHERE seq = 1", 1),
        ("DELETE FROM audit WHERE seq = 3", 3),
        ("DELETE FROM audit WHERE seq IN (2, 3)", 2),
        ("DELETE FROM audit WHERE seq = 5", 5),
        ("DELETE FROM audit WHERE seq >= 3", 3),
        ("DELETE FROM audit", 1),
    ] {
        let folder = filled().await;
        change(&database(&folder), sql);
        let problem = verify(&folder).await.problem;
        assert!(matches!(&problem, Some(AuditProblem { seq, .. }) if *seq == named), "{sql}: {problem:?}");
    }
}

#[tokio::test]
async fn a_missing_record_is_named_wherever_in_a_long_log_it_was() {
    let opened = Opened::new();
    let entries = (1..=4500).map(|second| samples::audit(second, "ann", "a.b")).collect();
    opened.store().append_audit(entries).await.unwrap();
    let folder = opened.close().await;
    for seq in [4001, 2001, 2000] {
        change(&database(&folder), &format!("DELETE FROM audit WHERE seq = {seq}"));
        assert_eq!(verify(&folder).await.problem.unwrap().seq, seq);
    }
}

#[tokio::test]
async fn a_log_that_was_written_anew_does_not_pass() {
    let folder = filled().await;
    let head = folder.path().join("data/audit.head");
    let kept = fs::read(&head).unwrap();
    // A chain that fits in itself, by somebody who has this program but not the key.
    let another = Opened::new();
    for second in 1..=RECORDS {
        another.store().append_audit(vec![samples::audit(second, "eve", "a.b")]).await.unwrap();
    }
    let another = another.close().await;
    let from = database(&another);
    let from = from.display();
    change(
        &database(&folder),
        &format!("ATTACH '{from}' AS another; DELETE FROM audit; INSERT INTO audit SELECT * FROM another.audit"),
    );
    let problem = verify(&folder).await.problem.unwrap();
    assert_eq!(problem.seq, 5, "{problem}");
    for text in [&b""[..], b"nonsense", &kept[..kept.len() - 9]] {
        fs::write(&head, text).unwrap();
        assert!(verify(&folder).await.problem.unwrap().cause.contains("not signed"));
    }
    let text = String::from_utf8(kept).unwrap();
    fs::write(&head, text.replace("seq 5", "seq 4")).unwrap();
    assert!(verify(&folder).await.problem.unwrap().cause.contains("not signed"));
    fs::remove_file(&head).unwrap();
    assert!(verify(&folder).await.problem.unwrap().cause.contains("missing"));
}

/// The next server writes a new end, but also what it found.
#[tokio::test]
async fn a_restart_does_not_hide_that_records_were_taken_away() {
    let folder = filled().await;
    change(&database(&folder), "DELETE FROM audit WHERE seq = 5");
    let store = reopened(&folder);
    store.append_audit(vec![samples::audit(9, "ann", "a.b")]).await.unwrap();
    store.close().await;
    let verdict = verify(&folder).await;
    assert_eq!((verdict.count, verdict.problem.map(|problem| problem.seq)), (4, Some(5)));
    let verdict = verify_from(&folder, 6).await;
    assert_eq!((verdict.count, verdict.problem), (1, None), "what follows can be checked by itself");
    let records =
        reopened(&folder).find_audit(AuditQuery { from: Some(5), limit: 9, ..Default::default() }).await.unwrap();
    assert_eq!(records.len(), 2, "told once");
    assert!(records[0].entry.details["cause"].as_str().unwrap().contains("records 5 to 5"));
}

/// The head is written after the records are stored: a server that dies in between leaves an older one.
#[tokio::test]
async fn an_older_head_is_no_fault() {
    let folder = filled().await;
    let head = folder.path().join("data/audit.head");
    let older = fs::read(&head).unwrap();
    let store = reopened(&folder);
    store.append_audit(vec![samples::audit(9, "ann", "a.b")]).await.unwrap();
    store.close().await;
    fs::write(&head, older).unwrap();
    assert_eq!(verify(&folder).await.problem, None);
    drop(reopened(&folder));
    assert_eq!((verify(&folder).await.problem, fs::read_to_string(&head).unwrap().contains("seq 6")), (None, true));
}

#[tokio::test]
async fn a_log_is_read_while_a_server_writes_to_it_and_without_the_key() {
    let opened = Opened::new();
    let store = opened.store();
    store.append_audit(vec![samples::audit(1, "ann", "a.b")]).await.unwrap();
    let folder = opened.folder();
    let log = AuditLog::open(&database(folder), None).unwrap();
    store.append_audit(vec![samples::audit(2, "ann", "a.b")]).await.unwrap();
    let verdict = log.verify(1, &|_, _| {}).await.unwrap();
    assert_eq!((verdict.count, verdict.problem, verdict.is_signed), (2, None, false));
    let error = AuditLog::open(&folder.path().join("elsewhere.db"), None).unwrap_err();
    assert!(matches!(error, longshore_store::Error::Io { .. }), "{error:?}");
    opened.close().await;
}

#[tokio::test]
async fn a_new_key_signs_the_end_anew() {
    let folder = filled().await;
    let first = longshore_protocol::Secret::new("first");
    let both = longshore_store::Keys::new(&longshore_protocol::Secret::new("second"), &[first]);
    Sqlite::open(&database(&folder), both).unwrap().close().await;
    let log = AuditLog::open(&database(&folder), Some(keys("second"))).unwrap();
    assert_eq!(log.verify(1, &|_, _| {}).await.unwrap().problem, None);
    assert!(verify(&folder).await.problem.is_some(), "no longer under the old one alone");
}

#[tokio::test]
async fn a_forged_checkpoint_is_seen() {
    let folder = filled().await;
    // The start is taken away behind a checkpoint that nobody wrote.
    change(
        &database(&folder),
        "UPDATE audit SET removed = 2, details = '{\"hash\":\"' || (SELECT lower(hex(hash)) FROM audit WHERE seq = 2) || '\"}' \
         WHERE seq = 5; DELETE FROM audit WHERE seq <= 2",
    );
    let problem = verify(&folder).await.problem.unwrap();
    assert_eq!(problem.seq, 5, "{problem}");
}

/// The form is told to others, so it stays.
#[tokio::test]
async fn the_hash_is_that_of_the_described_form() {
    let opened = Opened::new();
    let entry =
        AuditEntry { actor: Some("anna".to_owned()), status: Some(200), ..AuditEntry::new(samples::time(0), "a.b") };
    let head = opened.store().append_audit(vec![entry]).await.unwrap();
    let micros = samples::time(0).0.as_microsecond().to_string();
    let mut form =
        format!("longshore.audit.1i1:1,i{}:{micros},t4:anna,~~~t3:a.b,~~~i3:200,t2:{{}},~b32:", micros.len())
            .into_bytes();
    form.extend([0; 32]);
    form.push(b',');
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &form);
    assert_eq!(head.hash.0, hash.as_ref());
    opened.close().await;
}

fn reopened(folder: &TempDir) -> Sqlite {
    open(&database(folder)).unwrap()
}
