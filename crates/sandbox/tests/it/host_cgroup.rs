//! Control groups: the real ones of this machine where there are any, and version 2 in a folder that looks like its tree.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use longshore_sandbox::{
    Limits,
    host::cgroup::{Cgroups, Group, Usage, recorded},
};
use tempfile::TempDir;

const LIMITS: Limits = Limits { memory: Some(64 << 20), cpu_milli: Some(500), disk: None, pids: Some(30) };

/// A group of this machine with a process in it, both gone in the end.
struct Real {
    name: String,
    cgroups: Cgroups,
    group: Box<dyn Group>,
    child: Option<Child>,
}

impl Real {
    /// None where this user may make no groups.
    fn new() -> Option<Self> {
        let name = format!("longshore-test{}", uuid::Uuid::new_v4().simple());
        let cgroups = Cgroups::find(&name).ok()?;
        let group = cgroups.group("one");
        Some(Self { name, cgroups, group, child: None })
    }

    fn start(&mut self, script: &str) {
        let entrances: Vec<_> =
            self.group.entrances().iter().map(|path| format!("echo 0 > {} && ", path.display())).collect();
        let child = Command::new("sh").arg("-c").arg(entrances.concat() + script).stdout(Stdio::piped()).spawn();
        self.child = Some(child.expect("a process"));
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = self.group.freeze(false);
            let _ = child.wait();
        }
        let removed = self.group.remove();
        for folder in self.group.folders() {
            let _ = fs::remove_dir(folder.parent().expect("the deployment's"));
        }
        assert!(removed.is_ok() || std::thread::panicking(), "{}: {removed:?}", self.name);
    }
}

#[test]
fn a_group_is_made_although_somebody_removed_the_empty_one_above() {
    let Some(real) = Real::new() else { return };
    drop(Cgroups::find(&real.name));
    assert!(real.group.folders().iter().all(|folder| !folder.parent().expect("the deployment's").exists()));
    real.group.create().expect("a group");
}

#[test]
fn a_group_holds_limits_and_processes() {
    let Some(mut real) = Real::new() else { return };
    real.group.create().expect("a group");
    real.group.create().expect("the same group");
    real.group.limit(&LIMITS).expect("limits");
    real.group.limit(&Limits { memory: Some(32 << 20), ..LIMITS }).expect("less memory");
    real.group.limit(&Limits { memory: Some(128 << 20), ..LIMITS }).expect("more memory");
    real.group.limit(&Limits::default()).expect("no limits");
    assert_eq!(real.cgroups.names().iter().filter(|name| *name == "one").count(), real.group.folders().len());

    real.start("echo in; exec sleep 1000");
    read_line(real.child.as_mut().expect("it runs"));
    assert_eq!(real.group.processes().len(), 1);
    let usage = real.group.usage();
    assert!(usage.memory.is_some_and(|bytes| bytes > 0) && usage.pids == Some(1), "{usage:?}");

    real.group.freeze(true).expect("a halt");
    assert!(real.group.is_frozen());
    real.group.freeze(true).expect("a halt again");
    real.group.freeze(false).expect("it goes on");
    assert!(!real.group.is_frozen());
}

#[test]
fn a_record_leads_back_to_the_group() {
    let Some(real) = Real::new() else { return };
    let again = recorded(&real.group.record()).expect("a group");
    assert_eq!(again.folders(), real.group.folders());
    assert!(recorded("").is_none() && recorded("nonsense /sys").is_none());
}

#[test]
fn version_1_is_found_in_trees_that_are_mounted_together_or_apart() {
    let tree = TempDir::new().expect("a folder");
    let root = tree.path().display().to_string();
    for folder in ["cpu,cpuacct/a b", "memory/a b", "pids/a b"] {
        fs::create_dir_all(tree.path().join(folder)).expect("a folder");
    }
    let mountinfo = format!(
        "30 25 0:26 / {root}/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n\
         31 25 0:27 /outer {root}/memory rw,relatime - cgroup cgroup rw,memory\n\
         32 25 0:28 / {root}/pids rw - cgroup cgroup rw,pids\n\
         33 25 0:29 / {root}/elsewhere rw - cgroup cgroup rw,freezer\n"
    );
    let membership = "5:cpu,cpuacct:/a b\n4:memory:/outer/a b\n3:pids:/a b\n2:freezer:/a b\n1:name=systemd:/x\n0::/\n";
    let cgroups = Cgroups::find_in("longshore-x", &mountinfo, membership).expect("groups");
    assert_eq!((cgroups.version(), cgroups.missing()), (1, vec![]));
    let group = cgroups.group("one");
    let folders = ["cpu,cpuacct", "memory", "pids"].map(|name| tree.path().join(name).join("a b/longshore-x/one"));
    assert_eq!(group.folders(), folders.iter().map(PathBuf::as_path).collect());
    group.create().expect("a group");
    group.limit(&LIMITS).expect("limits");
    assert_eq!(content(&folders[0], "cpu.cfs_quota_us"), "50000");
    assert_eq!(content(&folders[1], "memory.limit_in_bytes"), "67108864");
    assert_eq!(content(&folders[2], "pids.max"), "30");
    // There is no freezer in this tree.
    group.freeze(true).expect_err("nothing can halt it");
}

/// A folder with the files of version 2 that matter.
struct Fake {
    tree: TempDir,
    own: PathBuf,
}

impl Fake {
    fn new(controllers: &str) -> Self {
        let tree = TempDir::new().expect("a folder");
        let own = tree.path().join("user.slice/server.service");
        fs::create_dir_all(&own).expect("a folder");
        put(&own, "cgroup.controllers", controllers);
        put(&own, "cgroup.subtree_control", "");
        put(&own, "cgroup.type", "domain\n");
        put(&own, "cgroup.procs", "4194303\n4194302\n");
        Self { tree, own }
    }

    fn find(&self, membership: &str) -> Result<Cgroups, String> {
        let mountinfo = format!("41 31 0:38 / {} rw - cgroup2 cgroup2 rw,nsdelegate", self.tree.path().display());
        Cgroups::find_in("longshore-x", &mountinfo, membership)
    }
}

#[test]
fn version_2_moves_the_server_into_a_leaf_and_passes_controllers_on() {
    let fake = Fake::new("cpuset cpu io memory pids\n");
    // A file that the system would add to keeps the last word only, so here nothing seems to come of it.
    fake.find("0::/user.slice/server.service\n").expect_err("no controllers");
    assert_eq!(content(&fake.own, "cgroup.subtree_control"), "+pids");
    assert_eq!(content(&fake.own.join("longshore-server"), "cgroup.procs"), "4194302");

    put(&fake.own, "cgroup.subtree_control", "cpu memory pids");
    let cgroups = fake.find("0::/user.slice/server.service\n").expect("groups");
    assert_eq!((cgroups.version(), cgroups.missing()), (2, vec![]));
    // A server that moved already finds the same groups.
    let again = fake.find("0::/user.slice/server.service/longshore-server\n").expect("groups");
    assert_eq!(again.group("one").folders(), cgroups.group("one").folders());
}

#[test]
fn version_2_says_what_an_ordinary_user_needs() {
    let reason = Fake::new("").find("0::/user.slice/server.service\n").expect_err("no controllers");
    assert!(reason.contains("Delegate=yes"), "{reason}");
    let reason = Fake::new("memory").find("0::/elsewhere\n").expect_err("no such group");
    assert!(reason.contains("/sys/fs/cgroup"), "{reason}");
}

#[test]
fn version_2_reads_and_writes_the_files_of_a_group() {
    let fake = Fake::new("cpu memory pids");
    put(&fake.own, "cgroup.subtree_control", "cpu memory pids");
    let cgroups = fake.find("0::/user.slice/server.service\n").expect("groups");
    let group = cgroups.group("one");
    group.create().expect("a group");
    let folder = fake.own.join("longshore-x/one");
    for file in ["memory.max", "memory.swap.max", "cpu.max", "pids.max"] {
        put(&folder, file, "");
    }
    group.limit(&LIMITS).expect("limits");
    let limits = ["memory.max", "memory.swap.max", "cpu.max", "pids.max"].map(|file| content(&folder, file));
    assert_eq!(limits, ["67108864", "0", "50000 100000", "30"]);
    group.limit(&Limits::default()).expect("no limits");
    let limits = ["memory.max", "memory.swap.max", "cpu.max", "pids.max"].map(|file| content(&folder, file));
    assert_eq!(limits, ["max", "max", "max 100000", "max"]);

    put(&folder, "memory.current", "5000\n");
    put(&folder, "memory.stat", "anon 1\ninactive_file 1000\n");
    put(&folder, "cpu.stat", "usage_usec 77\nuser_usec 70\n");
    put(&folder, "pids.current", "3\n");
    put(&folder, "memory.events", "low 0\noom 2\noom_kill 1\n");
    put(&folder, "cgroup.procs", "4194303\n");
    assert_eq!(group.usage(), Usage { memory: Some(4000), cpu_micros: Some(77), pids: Some(3) });
    assert_eq!((group.memory_kills(), group.processes().len()), (1, 1));

    put(&folder, "cgroup.events", "populated 1\nfrozen 1\n");
    group.freeze(true).expect("it is frozen");
    assert!(group.is_frozen());
    group.kill();
    assert_eq!([content(&folder, "cgroup.freeze"), content(&folder, "cgroup.kill")], ["1", "1"]);
    assert_eq!(group.entrances(), [folder.join("cgroup.procs")]);
}

fn put(folder: &Path, file: &str, text: &str) {
    fs::write(folder.join(file), text).expect("a file");
}

fn content(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).expect(file)
}

fn read_line(child: &mut Child) {
    use std::io::{BufRead as _, BufReader};
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().expect("output")).read_line(&mut line).expect("a line");
}
