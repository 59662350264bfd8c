use std::sync::Arc;

use longshore_protocol::{Secret, sandbox::SandboxOptions};
use longshore_store::{At, BashQuery, ConversationQuery, NewConversation, Owner, Store, WorkspaceRow};
use uuid::Uuid;

use crate::samples;

fn workspace(owner: &Owner, seconds: i64) -> WorkspaceRow {
    let env = [("TOKEN".to_owned(), Secret::new(samples::API_KEY))].into();
    WorkspaceRow {
        id: Uuid::new_v4(),
        owner: owner.clone(),
        created_at: samples::time(seconds),
        working_dir: "/workspace".to_owned(),
        options: SandboxOptions { env: Some(env), ..SandboxOptions::default() },
    }
}

pub(crate) async fn workspaces_are_their_owners(store: Arc<dyn Store>) {
    let (ann, ben) = (samples::owner("ann"), samples::owner("ben"));
    let all: Vec<_> = (0..5).map(|number| workspace(&ann, number / 2)).collect();
    for workspace in &all {
        assert!(store.create_workspace(workspace.clone(), 5).await.unwrap());
    }
    assert!(!store.create_workspace(workspace(&ann, 9), 5).await.unwrap(), "there are five already");
    assert!(store.create_workspace(workspace(&ben, 9), 5).await.unwrap());
    assert!(!store.create_workspace(WorkspaceRow { owner: ben.clone(), ..all[0].clone() }, 5).await.unwrap());

    assert_eq!(store.workspace(&ann, all[0].id).await.unwrap().as_ref(), Some(&all[0]));
    assert_eq!(store.workspace(&ben, all[0].id).await.unwrap(), None);
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = store.workspaces(&ann, from, 2).await.unwrap();
        found.extend(page.items);
        match page.next {
            Some(next) => from = Some(next.parse().unwrap()),
            None => break,
        }
    }
    let mut expected = all.clone();
    expected.sort_by_key(|workspace| (workspace.created_at, workspace.id));
    assert_eq!(found, expected);

    assert!(!store.delete_workspace(&ben, all[0].id).await.unwrap());
    assert!(store.delete_workspace(&ann, all[0].id).await.unwrap());
    assert_eq!(store.workspace(&ann, all[0].id).await.unwrap(), None);
}

pub(crate) async fn conversations_and_commands_are_found_by_workspace(store: Arc<dyn Store>) {
    let ann = samples::owner("ann");
    let made = workspace(&ann, 0);
    store.create_workspace(made.clone(), 1).await.unwrap();
    let inside = NewConversation { workspace: Some(made.id), ..samples::conversation(&ann) };
    let outside = samples::conversation(&ann);
    for new in [&inside, &outside] {
        store.create_conversation(new.clone()).await.unwrap();
    }
    let query = ConversationQuery { workspace: Some(made.id), limit: 9, ..ConversationQuery::default() };
    let found: Vec<_> = store.find_conversations(&ann, query).await.unwrap().items;
    assert_eq!(found.iter().map(|head| head.id).collect::<Vec<_>>(), [inside.id]);
    assert_eq!(store.count_conversations(&ann, None, Some(made.id)).await.unwrap(), 1);
    let is_in = async |owner: &Owner, id| store.is_in_workspace(owner, id, made.id).await.unwrap();
    assert_eq!(is_in(&ann, inside.id).await, Some(true));
    assert_eq!(is_in(&ann, outside.id).await, Some(false));
    assert_eq!(is_in(&samples::owner("ben"), inside.id).await, None);

    let at = At::Workspace(made.id);
    let command = samples::bash_command(0);
    store.append_bash(&ann, at, vec![command.clone().into()], u64::MAX).await.unwrap();
    let all = || BashQuery { limit: 9, ..BashQuery::default() };
    assert_eq!(store.find_bash(&ann, At::Own, all()).await.unwrap().items, []);
    assert_eq!(store.find_bash(&ann, at, all()).await.unwrap().items, [command.clone().into()]);
    assert_eq!(store.unfinished_bash().await.unwrap(), [(ann.clone(), at, command)]);
    store.delete_workspace(&ann, made.id).await.unwrap();
    assert_eq!(store.find_bash(&ann, at, all()).await.unwrap().items, []);
}

pub(crate) async fn options_change(store: Arc<dyn Store>) {
    let (ann, ben) = (samples::owner("ann"), samples::owner("ben"));
    let made = workspace(&ann, 0);
    store.create_workspace(made.clone(), 1).await.unwrap();
    let options = SandboxOptions { image: Some("other".to_owned()), ..SandboxOptions::default() };
    assert!(!store.set_workspace_options(&ben, made.id, options.clone()).await.unwrap());
    assert_eq!(store.workspace(&ann, made.id).await.unwrap().as_ref(), Some(&made));
    assert!(store.set_workspace_options(&ann, made.id, options.clone()).await.unwrap());
    assert_eq!(store.workspace(&ann, made.id).await.unwrap(), Some(WorkspaceRow { options, ..made }));
}
