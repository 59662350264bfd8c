//! `longshore key`.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use longshore_protocol::{UtcTime, account::ApiKey};
use longshore_server::{Accounts, KeyWish, own_workspace_id};
use longshore_store::Owner;

use super::{Change, KeyAction, PAGE, day, print_json, print_table, say};

pub(super) async fn act(accounts: &Accounts, action: KeyAction) -> Result<Option<Change>> {
    match action {
        KeyAction::Create { user, scopes, expires, workspace, label } => {
            let workspace_id = match workspace.as_deref() {
                None => None,
                Some("own") => Some(own_workspace_id(&Owner(user.as_str().into()))),
                Some(id) => Some(id.parse().with_context(|| format!("'{id}' is no id of a workspace"))?),
            };
            let scopes = (!scopes.is_empty()).then_some(scopes);
            let wish = KeyWish { label, scopes, expires_at: expires, workspace_id };
            let new = accounts.create_key(&user, wish).await?;
            crate::print(new.key.as_bytes())?;
            say(&format!("This is the only time that the key is shown. Its id is {}.", new.api_key.id));
            Ok(Some(Change::of_key("key.create", &new.api_key)))
        }
        KeyAction::List { user, json } => {
            let mut keys: Vec<ApiKey> = Vec::new();
            loop {
                let after = keys.last().map(|key| key.id.clone());
                let page = accounts.keys(user.as_ref(), after.as_deref(), PAGE).await?;
                let is_last = page.len() < PAGE;
                keys.extend(page);
                if is_last {
                    break;
                }
            }
            if json { print_json(&keys) } else { table(&keys) }?;
            Ok(None)
        }
        KeyAction::Revoke { id } => {
            let id = id.strip_prefix("lsk_").unwrap_or(&id);
            let key = accounts.revoke_key(id, None).await?;
            say(&format!("The key {id} of {} opens nothing any more.", key.user));
            Ok(Some(Change::of_key("key.revoke", &key)))
        }
    }
}

fn table(keys: &[ApiKey]) -> Result<()> {
    let heads = ["ID", "USER", "SCOPES", "WORKSPACE", "MADE", "LAST USED", "ENDS", "LABEL"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(keys.iter().map(|key| {
        let scopes: Vec<_> = key.scopes.iter().map(|scope| scope.as_str()).collect();
        let end = match key.revoked_at {
            Some(_) => "revoked".to_owned(),
            None => day(key.expires_at),
        };
        vec![
            key.id.clone(),
            key.user.to_string(),
            scopes.join(","),
            key.workspace_id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
            day(Some(key.created_at)),
            day(key.last_used_at),
            end,
            key.label.clone(),
        ]
    }));
    print_table(&rows)
}

/// A time, or so long from now.
pub(super) fn expiry(text: &str) -> Result<UtcTime, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(UtcTime(time));
    }
    let wrong = || format!("'{text}' is no time: write 2027-01-31T00:00:00Z, 90d, 12h or 30m");
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        _ => return Err(wrong()),
    };
    let count: u64 = number.parse().map_err(|_| wrong())?;
    let length = count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(wrong)?;
    Timestamp::now().checked_add(length).map(UtcTime).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_time_or_so_long_from_now() {
        assert_eq!(expiry("2027-01-31T00:00:00Z").unwrap().0.to_string(), "2027-01-31T00:00:00Z");
        for (text, seconds) in [("90d", 90 * 86_400), ("12h", 43_200), ("30m", 1_800)] {
            let left = expiry(text).unwrap().0.as_second() - Timestamp::now().as_second();
            assert!((seconds - 60..=seconds).contains(&left), "{text}: {left}");
        }
        for wrong in ["", "d", "90", "-1d", "1y", "é", "99999999999999999999d", "18446744073709551615d"] {
            expiry(wrong).unwrap_err();
        }
    }
}
