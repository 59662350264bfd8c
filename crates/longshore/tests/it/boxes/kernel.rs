//! Ways out that the system offers to whoever has the rights.

use super::{
    attack::{Attack, Field, python},
    ground::{Ground, Kind},
};

const REFUSED: &[&str] = &[
    "Operation not permitted",
    "Permission denied",
    "Function not implemented",
    "No such file or directory",
    "Read-only file system",
    "No space left on device",
];

async fn holds(kind: Kind) {
    let Some(ground) = Ground::new(kind, "").await else { return };
    let field = Field::new(&ground, serde_json::json!({})).await;
    field
        .withstands(&[
            Attack::new("rights of processes", python("
for pid in [name for name in os.listdir('/proc') if name.isdigit()]:
    try: lines = open(f'/proc/{pid}/status').read().splitlines()
    except OSError: continue
    status = dict(line.split(':', 1) for line in lines)
    # What a package manager needs, and nothing that reaches beyond the box.
    allowed = 0xfb if os.getuid() == 0 else 0
    for name in ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']:
        if int(status[name], 16) & ~allowed: print('BROKEN', pid, name, status[name])
    if (status['NoNewPrivs'].strip(), status['Seccomp'].strip()) != ('1', '2'): print('BROKEN', pid, status)
print('Operation not permitted')
"), REFUSED),
            Attack::new("rights of files", "cp /bin/sh /tmp/sh; chmod 4755 /tmp/sh; cat > /tmp/who.py <<'END'
import os, subprocess
for path in subprocess.run(['find', '/usr', '/tmp', '-xdev', '-perm', '-4000', '-type', 'f'], capture_output=True, text=True).stdout.split():
    print(path)
    status = subprocess.run(['/bin/sh', '-c', 'exec \"$0\" -c \"id -u; grep Cap /proc/self/status\" < /dev/null', path], capture_output=True, text=True, timeout=10)
    if os.getuid() != 0 and (status.stdout.startswith('0') or 'CapEff:\\t00000000a' in status.stdout): print('BROKEN', path, status.stdout)
print('Operation not permitted')
END
python3 /tmp/who.py", REFUSED),
            Attack::new("mounts", python("
call('mount tmpfs', 165, b'none', b'/mnt', b'tmpfs', 0, None)
call('mount proc', 165, b'proc', b'/proc', b'proc', 0, None)
call('remount', 165, None, b'/', None, 32, None)
call('bind', 165, b'/', b'/tmp', None, 4096, None)
call('umount', 166, b'/proc', 2)
call('pivot_root', 155, b'/', b'/')
call('open_tree', 428, -100, b'/', 1)
call('fsopen', 430, b'tmpfs', 0)
call('chroot', 161, b'/tmp')
call('swapon', 167, b'/tmp/x', 0)
call('quotactl', 179, 0x80000200, b'/dev/vda', 0, None)
"), REFUSED),
            Attack::new("namespaces", python("
for name, flag in [('user', 0x10000000), ('mount', 0x20000), ('network', 0x40000000), ('pid', 0x20000000), ('ipc', 0x08000000), ('uts', 0x04000000), ('cgroup', 0x02000000), ('time', 0x80)]:
    call('unshare ' + name, 272, flag)
    call('clone user and ' + name, 56, 0x10000000 | flag | 17, None, None, None, None)
for name in ['mnt', 'net', 'pid', 'user', 'uts', 'ipc', 'cgroup']:
    try: call('setns ' + name, 308, os.open(f'/proc/1/ns/{name}', os.O_RDONLY), 0)
    except OSError as error: print(error.strerror)
"), REFUSED),
            Attack::new("a user namespace with a program", "unshare --user --map-root-user --mount sh -c 'echo BROKEN; mount -t tmpfs x /mnt'; unshare -Urn true && echo BROKEN", REFUSED),
            Attack::new("calls that let people out before", python("
call('bpf', 321, 5, ctypes.create_string_buffer(128), 128)
call('keyctl', 250, 0, -3, 1)
call('add_key', 248, b'user', b'x', b'x', 1, -4)
call('request_key', 249, b'user', b'x', None, -4)
call('perf_event_open', 298, ctypes.create_string_buffer(b'\\x01\\0\\0\\0\\x70\\0\\0\\0', 128), -1, 0, -1, 0)
call('userfaultfd', 323, 0)
call('kexec_load', 246, 0, 0, None, 0)
call('kexec_file_load', 320, 0, 0, 0, None, 0)
call('init_module', 175, None, 0, b'')
call('finit_module', 313, 0, b'', 0)
call('delete_module', 176, b'x', 0)
call('reboot', 169, 0xfee1dead, 672274793, 0, None)
call('settimeofday', 164, ctypes.create_string_buffer(16), None)
call('clock_settime', 227, 0, ctypes.create_string_buffer(16))
call('sethostname', 170, b'x', 1)
call('setdomainname', 171, b'x', 1)
call('iopl', 172, 3)
call('ioperm', 173, 0, 8, 1)
call('syslog', 103, 10, None, 0)
call('acct', 163, b'/tmp/x')
call('vhangup', 153)
call('fanotify_init', 300, 0, 0)
call('lookup_dcookie', 212, 0, None, 0)
call('open_by_handle_at', 304, -100, ctypes.create_string_buffer(128), 0)
"), REFUSED),
            Attack::new("devices", "for d in mem kmem port kmsg vda sda loop-control loop0 fuse kvm net/tun mapper/control vhost-net; do \
                head -c 1 /dev/$d > /dev/null && echo BROKEN $d; done; mknod /tmp/vda b 254 0 && head -c 1 /tmp/vda > /dev/null && echo BROKEN; \
                mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem && echo BROKEN; true", REFUSED),
            Attack::new("switches of the system", "for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/kernel/modprobe \
                /proc/sys/kernel/panic /proc/sys/vm/overcommit_memory /proc/sys/net/ipv4/ip_forward /proc/sys/fs/binfmt_misc/register /sys/kernel/uevent_helper \
                /sys/kernel/mm/ksm/run /sys/power/state /proc/irq/default_smp_affinity /proc/mtrr /proc/acpi/wakeup; do \
                [ -e $f ] || continue; (echo -n > $f) && [ $f != /proc/sys/fs/binfmt_misc/register ] && cat $f && echo BROKEN $f; done; cat /nowhere", REFUSED),
            Attack::new("control groups", "find /sys/fs/cgroup -name release_agent -writable -o -name notify_on_release -writable 2> /dev/null | while read f; do (echo 1 > $f) && echo BROKEN $f; done; \
                for d in /sys/fs/cgroup/*; do mkdir $d/x && echo BROKEN $d; done; for f in $(find /sys/fs/cgroup -name '*limit*' -o -name pids.max 2> /dev/null); do (echo -1 > $f) 2> /dev/null && echo BROKEN $f; done; cat /nowhere", REFUSED),
            Attack::new("loop devices and file systems", "truncate -s 16m /tmp/i; losetup -f /tmp/i && echo BROKEN; mke2fs -q /tmp/i; mount -o loop /tmp/i /mnt && echo BROKEN; fusermount -V && echo; cat /nowhere", REFUSED),
        ])
        .await;
}

#[tokio::test]
async fn bubblewrap_gives_no_rights() {
    holds(Kind::Bubblewrap).await;
}

#[tokio::test]
async fn docker_gives_no_rights() {
    holds(Kind::Docker).await;
}
