//! Attacks in a table, and what proves that they failed.

use super::{
    client::Boxed,
    ground::{Ground, SERVERS_SECRET},
};

/// What an attack says when it got somewhere.
pub(crate) const BROKEN: &str = "BROKEN";

/// In the box that is attacked.
pub(crate) const VICTIMS_SECRET: &str = "canary-of-the-other-box";

/// On this machine, outside of all boxes.
pub(crate) const HOSTS_SECRET: &str = "canary-of-the-host";

/// Something that a box tries.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// What it runs. It says [`BROKEN`] if it got somewhere.
    pub(crate) script: String,
    /// What it says one of when it was tried and failed.
    pub(crate) refusals: &'static [&'static str],
}

impl Attack {
    pub(crate) fn new(name: &'static str, script: impl Into<String>, refusals: &'static [&'static str]) -> Self {
        Self { name, script: script.into(), refusals }
    }
}

/// A box that attacks, and one that is attacked.
pub(crate) struct Field<'a> {
    ground: &'a Ground,
    pub(crate) attacker: Boxed,
    pub(crate) victim: Boxed,
    /// A file of this machine with a secret in it.
    pub(crate) host_file: String,
    secrets: Vec<String>,
}

impl<'a> Field<'a> {
    /// Two boxes made from the same options.
    pub(crate) async fn new(ground: &'a Ground, options: serde_json::Value) -> Self {
        let host_file = ground.world.path().join("host-secret");
        std::fs::write(&host_file, HOSTS_SECRET).unwrap();
        let (attacker, victim) = (ground.boxed(options.clone()).await, ground.boxed(options).await);
        victim
            .must(&format!("for folder in /workspace /tmp /dev/shm ~; do echo {VICTIMS_SECRET} > $folder/secret; done"))
            .await;
        let key = std::fs::read_to_string(ground.world.data().join("secret.key")).unwrap().trim().to_owned();
        let mut secrets = [VICTIMS_SECRET, HOSTS_SECRET, SERVERS_SECRET].map(str::to_owned).to_vec();
        secrets.push(key);
        Self { ground, attacker, victim, host_file: host_file.to_str().unwrap().to_owned(), secrets }
    }

    /// Tries all of them, and fails if any got somewhere, or was not really tried.
    pub(crate) async fn withstands(&self, attacks: &[Attack]) {
        let mut problems = Vec::new();
        for Attack { name, script, refusals } in attacks {
            let said = match self.attacker.try_sh(script, 20).await {
                Ok(said) => said.text,
                Err(error) => error,
            };
            let leaked = self.secrets.iter().any(|secret| said.contains(secret));
            if leaked || said.contains(BROKEN) {
                problems.push(format!("{name} got somewhere: {said}"));
            } else if !refusals.iter().any(|refusal| said.contains(refusal)) {
                problems.push(format!("{name} was not refused as expected: {said}"));
            }
            self.ground.must_be_healthy().await;
        }
        assert!(problems.is_empty(), "{}", problems.join("\n\n"));
        self.all_is_well().await;
    }

    /// The other box, the host's file and the server are as they were.
    pub(crate) async fn all_is_well(&self) {
        assert_eq!(self.victim.must("cat /workspace/secret").await, VICTIMS_SECRET);
        assert_eq!(std::fs::read_to_string(&self.host_file).unwrap(), HOSTS_SECRET);
        self.ground.must_be_healthy().await;
    }
}

/// A script of Python in which `call` makes a system call, and says that it got somewhere unless it was refused.
pub(crate) fn python(body: &str) -> String {
    let prelude = "import ctypes, os, socket, sys\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        libc.syscall.restype = ctypes.c_long\n\
        def call(name, number, *arguments):\n\
        \x20   result = libc.syscall(ctypes.c_long(number), *arguments)\n\
        \x20   print(name, 'BROKEN' if result != -1 else 'refused: ' + os.strerror(ctypes.get_errno()), flush=True)\n\
        \x20   return result\n";
    format!("python3 - <<'END'\n{prelude}{body}\nEND\n")
}
