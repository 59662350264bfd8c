# Prepares an interactive bash for its session. The marks that it prints are private: no other output looks like them.
\set +H +o history
\unset HISTFILE PROMPT_COMMAND PS0
PS2=
\export TERM=xterm-256color PAGER=cat GIT_PAGER=cat MANPAGER=cat SYSTEMD_PAGER=cat

if ! { :; } 2>/dev/null >/dev/tty; then
  \builtin printf '/dev/tty cannot be opened\n'
  \exit 125
fi

__longshore_folder=@FOLDER@
__longshore_seq=0
__longshore_is_open=1
__longshore_text=

# Runs before a command: reads it and says that its output begins. The functions keep the status of the command before, and
# they write to the terminal wherever the shell's output goes.
__longshore_begin() {
  \local status=$?
  __longshore_seq=$1
  __longshore_is_open=1
  if [[ ${2-} ]]; then
    \builtin . "$__longshore_folder/secrets"
    : >|"$__longshore_folder/secrets"
  fi
  IFS= \builtin read -r -d '' __longshore_text <"$__longshore_folder/command" || :
  __longshore_arm
  \builtin printf '\e]7717;@NONCE@;%s;C;%s\a' "$$" "$1"
  __longshore_return "$status"
} 2>/dev/null >/dev/tty

# Runs after a command, and before the prompt if the command was interrupted: says how the command ended.
__longshore_end() {
  \local status=$?
  if [[ $__longshore_is_open ]]; then
    __longshore_is_open=
    __longshore_text=
    # Lines that the command did not read are not for the shell.
    while \builtin read -t 0; do \builtin read -r || \break; done
    \builtin printf '\e]7717;@NONCE@;%s;D;%s;%s;%s\037%s\037' \
      "$$" "$__longshore_seq" "$status" "${!:--1}" "${PWD//[[:cntrl:]]/?}"
    \builtin type -P python || :
    \builtin printf '\a'
    __longshore_disarm
  fi
  __longshore_return "$status"
} 2>/dev/null >/dev/tty

# A status that is not 0 would end a shell that ends on errors.
__longshore_return() {
  if [[ $- == *e* ]]; then \return 0; fi
  \return "$1"
}

# While a command runs, the prompt is a mark: it says how a command ended that was interrupted and had taken away the rest.
__longshore_arm() {
  PS1='\e]7717;@NONCE@;$$;D;${__longshore_seq};$?;${!:--1};\u;\h\a'
  PROMPT_COMMAND='{ __longshore_end; } 2>/dev/null'
}
__longshore_disarm() {
  PS1=
}
# Where they are read-only, the mark after the command has to do.
if ! (PS1='' PROMPT_COMMAND='') 2>/dev/null; then
  __longshore_arm() { :; }
  __longshore_disarm() { :; }
fi
__longshore_end
# The first prompt tells the names of the user and the host.
__longshore_arm
