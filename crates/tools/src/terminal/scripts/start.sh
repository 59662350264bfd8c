# Prepares an interactive POSIX shell for its session. The marks that it prints are private: no other output looks like
# them.
unset ENV
PS2=
export TERM=xterm-256color PAGER=cat GIT_PAGER=cat MANPAGER=cat SYSTEMD_PAGER=cat

if ! { :; } 2>/dev/null >/dev/tty; then
  printf '/dev/tty cannot be opened\n'
  exit 125
fi

__longshore_folder=@FOLDER@
__longshore_seq=0
__longshore_user=$(id -un 2>/dev/null)
__longshore_host=$(uname -n 2>/dev/null)
__longshore_text='. "$__longshore_folder/command"'
__longshore_escape=$(printf '\033')
__longshore_bell=$(printf '\007')

# Runs before a command: says that its output begins. The status of the command before stays.
__longshore_begin() {
  __longshore_status=$?
  __longshore_seq=$1
  if [ -n "${2-}" ]; then
    . "$__longshore_folder/secrets"
    : >|"$__longshore_folder/secrets"
  fi
  __longshore_arm
  printf '\033]7717;@NONCE@;%s;C;%s\007' "$$" "$1"
  __longshore_return
} 2>/dev/null >/dev/tty

# Runs after a command: says how it ended.
__longshore_end() {
  __longshore_status=$?
  printf '\033]7717;@NONCE@;%s;D;%s;%s;%s;%s;%s\037%s\037' "$$" "$__longshore_seq" "$__longshore_status" "${!:--1}" \
    "$__longshore_user" "$__longshore_host" "$PWD"
  command -v python || :
  printf '\007'
  PS1=
  __longshore_return
} 2>/dev/null >/dev/tty

# A status that is not 0 would end a shell that ends on errors.
__longshore_return() {
  case $- in *e*) return 0 ;; esac
  return "$__longshore_status"
}

# While a command runs, the prompt is a mark: it says how a command ended that was interrupted.
__longshore_arm() {
  PS1="${__longshore_escape}]7717;@NONCE@;"'$$;D;${__longshore_seq};$?;${!:--1}'"$__longshore_bell"
}
__longshore_end
