//! What the present is compared with.

use std::collections::HashMap;

use super::{Error, run::Git, status::Status};

/// The commit (or the empty tree) to compare with: what `reference` names, or else what shows a person the work that was
/// done here.
pub(super) async fn choose(git: &Git<'_>, reference: Option<&str>, status: &Status) -> Result<String, Error> {
    match reference {
        // Before the first commit everything is new.
        Some("HEAD") => match &status.head {
            Some(head) => Ok(head.clone()),
            None => empty_tree(git).await,
        },
        Some(reference) => resolve(git, reference).await,
        None => automatic(git, status).await,
    }
}

/// The full name of the commit that `reference` names.
pub(super) async fn resolve(git: &Git<'_>, reference: &str) -> Result<String, Error> {
    let name = format!("{reference}^{{commit}}");
    let args = ["rev-parse", "--verify", &name];
    if reference.starts_with('-') || reference.contains('\0') {
        // No reference begins like an option, and git must not take it for one.
        return Err(Error::Failed {
            command: format!("git rev-parse --verify {}", reference.escape_debug()),
            reason: ": not a valid name of a reference".into(),
        });
    }
    let output = git.run(&args).await?;
    if output.success { Ok(output.line()) } else { Err(output.failed(&args)) }
}

/// The name of the tree without files, which depends on how the repository names objects.
pub(super) async fn empty_tree(git: &Git<'_>) -> Result<String, Error> {
    let args = ["hash-object", "-t", "tree", "/dev/null"];
    let output = git.run(&args).await?;
    if output.success { Ok(output.line()) } else { Err(output.failed(&args)) }
}

/// In this order: the branch's copy at the origin, unless the branch is fully pushed and clean, when nothing would be
/// shown; where the branch left the origin's default branch; that branch; without an origin, the local default branch if
/// this one grew out of it; the last commit; nothing at all.
async fn automatic(git: &Git<'_>, status: &Status) -> Result<String, Error> {
    let refs = Refs::ask(git, status.branch.as_deref()).await?;
    let head = status.head.as_deref();
    if let Some(branch) = &status.branch
        && let Some(pushed) = refs.commit(&format!("refs/remotes/origin/{branch}"))
        && (head != Some(pushed) || status.dirty)
    {
        return Ok(pushed.to_owned());
    }
    if let Some(default) = refs.origin_default() {
        return Ok(match head {
            Some(head) => merge_base(git, head, default).await?.unwrap_or_else(|| default.to_owned()),
            None => default.to_owned(),
        });
    }
    let Some(head) = head else { return empty_tree(git).await };
    let local =
        ["main", "master"].into_iter().find_map(|name| Some((name, refs.commit(&format!("refs/heads/{name}"))?)));
    if let Some((name, default)) = local
        && status.branch.as_deref() != Some(name)
        && merge_base(git, head, default).await?.as_deref() == Some(default)
    {
        return Ok(default.to_owned());
    }
    Ok(head.to_owned())
}

async fn merge_base(git: &Git<'_>, one: &str, other: &str) -> Result<Option<String>, Error> {
    if one == other {
        return Ok(Some(one.to_owned()));
    }
    git.line(&["merge-base", one, other]).await
}

/// The references that decide, with their commits.
struct Refs(HashMap<String, String>);

impl Refs {
    async fn ask(git: &Git<'_>, branch: Option<&str>) -> Result<Self, Error> {
        let pushed = branch.map(|branch| format!("refs/remotes/origin/{branch}"));
        let mut args = vec![
            "for-each-ref",
            "--format=%(objectname) %(refname)",
            "refs/heads/main",
            "refs/heads/master",
            "refs/remotes/origin/HEAD",
            "refs/remotes/origin/main",
            "refs/remotes/origin/master",
        ];
        args.extend(pushed.as_deref());
        let answer = git.bytes(&args).await?;
        let answer = String::from_utf8_lossy(&answer);
        let pairs = answer.lines().filter_map(|line| line.split_once(' '));
        Ok(Self(pairs.map(|(commit, name)| (name.to_owned(), commit.to_owned())).collect()))
    }

    fn commit(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The origin's default branch: the one that a clone recorded, or else a usual name. The origin itself is not asked.
    fn origin_default(&self) -> Option<&str> {
        ["HEAD", "main", "master"].into_iter().find_map(|name| self.commit(&format!("refs/remotes/origin/{name}")))
    }
}
