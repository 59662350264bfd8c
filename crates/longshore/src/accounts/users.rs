//! `longshore user`.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use longshore_protocol::{
    UtcTime,
    account::{User, UserName, UserOptions},
};
use longshore_server::{Accounts, UserWish};
use longshore_store::UserChange;

use super::{Change, PAGE, UserAction, day, print_json, print_table, say};

pub(super) async fn act(accounts: &Accounts, action: UserAction) -> Result<Option<Change>> {
    match action {
        UserAction::Add { name, role, options } => {
            let options = options.as_deref().map(parsed).transpose()?.unwrap_or_default();
            let is_first = accounts.users(None, 1).await?.is_empty();
            let user = accounts.add_user(UserWish { name, role, options }).await?;
            say(&format!("Added {} ({}).", user.name, user.role.as_str()));
            say(&format!("Next: longshore key create --user {}", user.name));
            if is_first {
                say("From its next start on, the server asks everybody for a key.");
            }
            Ok(Some(Change::of_user("user.create", &user.name)))
        }
        UserAction::Change { name, role, options } => {
            let options = options.as_deref().map(parsed).transpose()?;
            let change = UserChange { role, options, ..UserChange::new(UtcTime(Timestamp::now())) };
            let user = accounts.change_user(&name, change).await?;
            say(&format!("Changed {} ({}).", user.name, user.role.as_str()));
            Ok(Some(Change::of_user("user.update", &name)))
        }
        UserAction::List { json } => list(accounts, json).await.map(|()| None),
        UserAction::Disable { name } => {
            set_disabled(accounts, &name, true).await?;
            say(&format!("{name} is disabled: keys of this user open nothing."));
            Ok(Some(Change::of_user("user.update", &name).with("disabled", true)))
        }
        UserAction::Enable { name } => {
            set_disabled(accounts, &name, false).await?;
            say(&format!("{name} is enabled."));
            Ok(Some(Change::of_user("user.update", &name).with("disabled", false)))
        }
    }
}

/// What is decided for a user. The message of the parser may quote a variable's value, so only the place is told.
fn parsed(options: &str) -> Result<UserOptions> {
    serde_json::from_str(options).map_err(|error| {
        anyhow::anyhow!(
            "--options is not what can be decided for a user (JSON), at column {}: see longshore user add --help",
            error.column()
        )
    })
}

async fn set_disabled(accounts: &Accounts, name: &UserName, is_disabled: bool) -> Result<()> {
    let change = UserChange { is_disabled: Some(is_disabled), ..UserChange::new(UtcTime(Timestamp::now())) };
    accounts.change_user(name, change).await?;
    Ok(())
}

async fn list(accounts: &Accounts, json: bool) -> Result<()> {
    let mut users: Vec<User> = Vec::new();
    loop {
        let after = users.last().map(|user| user.name.clone());
        let page = accounts.users(after.as_ref(), PAGE).await.context("the users cannot be read")?;
        let is_last = page.len() < PAGE;
        users.extend(page);
        if is_last {
            break;
        }
    }
    if json {
        return print_json(&users);
    }
    let mut rows = vec![["NAME", "ROLE", "SINCE", "STATE"].map(str::to_owned).to_vec()];
    rows.extend(users.iter().map(|user| {
        let state = if user.disabled_at.is_some() { "disabled" } else { "enabled" };
        vec![user.name.to_string(), user.role.as_str().to_owned(), day(Some(user.created_at)), state.to_owned()]
    }));
    print_table(&rows)
}
