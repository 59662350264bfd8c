# Shared by scripts/try and scripts/test. Source it; it defines functions and sets nothing but PATH and a few variables.
# shellcheck shell=bash
# shellcheck disable=SC2034  # the variables are for the scripts that source this file

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
nextest_version=0.9.143

say() { printf '\n==> %s\n' "$*" >&2; }

note() { printf '    %s\n' "$*" >&2; }

fail() {
    printf '\nerror: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '       %s\n' "$line" >&2; done
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Is version $1 at least version $2?
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Build tools from Debian packages, only if something is missing.
ensure_build_tools() {
    local missing=()
    have cc || missing+=(build-essential)
    have make || missing+=(build-essential)
    have git || missing+=(git)
    have curl || missing+=(curl ca-certificates)
    have pkg-config || missing+=(pkg-config)
    [ ${#missing[@]} -gt 0 ] || return 0
    install_packages "${missing[@]}"
}

# Programs that boxes need: bubblewrap makes them, the others bound their disks.
ensure_box_programs() {
    local missing=()
    have bwrap || missing+=(bubblewrap)
    [ -x /sbin/mkfs.ext4 ] || have mkfs.ext4 || missing+=(e2fsprogs)
    [ ${#missing[@]} -eq 0 ] || install_packages "${missing[@]}"
}

# The release binary, built and put where people look for it. Prints its path.
build_release() {
    cd "$repository"
    cargo build --release --locked --package longshore >&2 || fail "the build failed" "The messages above say why."
    local built="${CARGO_TARGET_DIR:-$repository/target}"
    mkdir -p "$built/release"
    # The build names its target, because the program is linked statically; the path without it is shorter.
    ln -f "$built/$(rustc -vV | sed -n 's/^host: //p')/release/longshore" "$built/release/longshore"
    printf '%s\n' "$built/release/longshore"
}

install_packages() {
    have apt-get || fail "these packages are needed: $*" "This is no Debian-like system: install them with its package manager, then start again."
    local root=()
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || fail "these packages are needed: $*" "As root, run: apt-get install --yes $*" "Then start again."
        root=(sudo)
    fi
    say "Installing Debian packages: $*"
    "${root[@]}" apt-get -o DPkg::Lock::Timeout=300 update --quiet || note "apt-get update failed; trying with the package lists that are here"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install --yes --quiet --no-install-recommends "$@" ||
        fail "the Debian packages could not be installed: $*" "Install them by hand, then start again."
}

# A Rust toolchain that is new enough (the version stands in Cargo.toml), with the components named as arguments.
ensure_rust() {
    local wanted
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$repository/Cargo.toml" | head -n 1)
    export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    if rust_is_ready "$wanted" "$@"; then
        note "Rust $(rust_version) is here"
        return 0
    fi
    have rustup || install_rustup "$wanted"
    say "Installing Rust $wanted with rustup (needed: $wanted, here: $(rust_version || echo none))"
    local components=()
    for component in "$@"; do components+=(--component "$component"); done
    rustup toolchain install "$wanted" --profile minimal --no-self-update "${components[@]}" ||
        fail "rustup could not install Rust $wanted" \
            "Probably this machine cannot reach https://static.rust-lang.org." \
            "Install Rust $wanted or newer in another way so that 'rustc --version' shows it, then start again."
    export RUSTUP_TOOLCHAIN="$wanted"
    rust_is_ready "$wanted" "$@" || fail "Rust $wanted is installed, but 'rustc --version' says: $(rust_version || echo nothing)" "Check PATH: $PATH"
}

rust_version() { rustc --version 2>/dev/null | cut -d ' ' -f 2; }

rust_is_ready() {
    local wanted=$1 found
    shift
    have cargo && found=$(rust_version) && [ -n "$found" ] && at_least "${found%%-*}" "$wanted" || return 1
    for component in "$@"; do "cargo-${component/rustfmt/fmt}" --version >/dev/null 2>&1 || return 1; done
}

install_rustup() {
    say "Installing rustup into ${CARGO_HOME:-$HOME/.cargo} (your shell's start files stay as they are)"
    local script
    script=$(mktemp)
    if ! curl --proto '=https' --tlsv1.2 --fail --silent --show-error --location --retry 3 --max-time 120 https://sh.rustup.rs --output "$script" ||
        ! sh "$script" -y --no-modify-path --profile minimal --default-toolchain none; then
        fail "rustup could not be downloaded or started" \
            "This machine may not reach https://sh.rustup.rs, or may be offline." \
            "Install Rust $1 or newer in another way so that 'rustc --version' shows it, then start again."
    fi
    rm -f "$script"
}

# The test runner: a prebuilt binary if it can be fetched, else built from source.
ensure_nextest() {
    if cargo nextest --version >/dev/null 2>&1; then
        note "$(cargo nextest --version 2>/dev/null | head -n 1) is here"
        return 0
    fi
    local place="${CARGO_HOME:-$HOME/.cargo}/bin" system
    case "$(uname -s)-$(uname -m)" in
        Linux-x86_64) system=linux ;;
        Linux-aarch64) system=linux-arm ;;
        Darwin-*) system=mac ;;
        *) system= ;;
    esac
    say "Installing cargo-nextest $nextest_version"
    mkdir -p "$place"
    if [ -n "$system" ] && curl --fail --silent --location --max-time 120 "https://get.nexte.st/$nextest_version/$system" | tar -xz -C "$place" 2>/dev/null &&
        cargo nextest --version >/dev/null 2>&1; then
        return 0
    fi
    note "no prebuilt binary to be had; building it (several minutes)"
    cargo install --locked cargo-nextest --version "$nextest_version" ||
        fail "cargo-nextest could not be installed" "Install it by hand (https://nexte.st), then start again."
}

# Prints the path of a Python that the official SDK accepts (3.12 or newer).
find_python() {
    local candidate
    for candidate in python3.12 python3.13 python3 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do
        "$candidate" -c 'import sys, venv, ensurepip; assert sys.version_info >= (3, 12); print(sys.executable)' 2>/dev/null && return 0
    done
    return 1
}

# A Python environment at $1 with the packages of $2 (a requirements file; overrides.txt beside it). Rebuilt when they change.
ensure_python_environment() {
    local place=$1 requirements=$2 overrides stamp python
    overrides="$(dirname "$requirements")/overrides.txt"
    stamp=$(cat "$requirements" "$overrides" | cksum)
    if [ -x "$place/bin/python" ] && [ "$(cat "$place/stamp" 2>/dev/null)" = "$stamp" ]; then
        note "the Python environment at $place is up to date"
        return 0
    fi
    rm -rf "$place"
    if python=$(find_python); then
        say "Making a Python environment with $python at $place"
        "$python" -m venv "$place" || fail "$python cannot make a virtual environment" "On Debian: apt-get install python3-venv"
        "$place/bin/python" -m pip install --quiet --disable-pip-version-check uv || fail "uv could not be installed with pip" "Is the package index reachable?"
        "$place/bin/uv" pip install --python "$place/bin/python" --requirements "$requirements" --override "$overrides" || fail_packages
    else
        say "Making a Python environment with a Python 3.12 that uv brings, at $place"
        ensure_uv
        uv venv --python 3.12 "$place" ||
            fail "no Python 3.12 or newer is here and uv could not bring one" \
                "Install one (Debian 13: apt-get install python3 python3-venv; else pyenv), then start again."
        uv pip install --python "$place/bin/python" --requirements "$requirements" --override "$overrides" || fail_packages
    fi
    printf '%s' "$stamp" >"$place/stamp"
}

fail_packages() { fail "the Python packages could not be installed" "Is the package index reachable? Behind a mirror, set UV_INDEX_URL or UV_DEFAULT_INDEX."; }

ensure_uv() {
    export PATH="$HOME/.local/bin:$PATH"
    uv --version >/dev/null 2>&1 && return 0
    note "installing uv"
    python3 -m pip install --user --quiet --disable-pip-version-check uv >/dev/null 2>&1 ||
        python3 -m pip install --user --break-system-packages --quiet --disable-pip-version-check uv >/dev/null 2>&1 ||
        curl --fail --silent --show-error --location --max-time 120 https://astral.sh/uv/install.sh | sh >/dev/null ||
        fail "uv could not be installed" "Install Python 3.12 or newer by hand, then start again."
    uv --version >/dev/null 2>&1 || fail "uv was installed, but cannot be started" "Check PATH: $PATH"
}
