# Becomes the shell of a session.
# $1: the session's private folder, not there yet. $2, $3: the start files for bash and for other shells. $4: the shell.
if [ -z "$4" ]; then
  if command -v bash >/dev/null 2>&1; then set -- "$1" "$2" "$3" bash; else set -- "$1" "$2" "$3" sh; fi
fi
mkdir -p -m 700 "$1" || exit 125
case ${4##*/} in
bash*)
  printf '%s\n' "$2" >"$1/start" || exit 125
  exec "$4" --noprofile --rcfile "$1/start" --noediting -i
  ;;
*)
  printf '%s\n' "$3" >"$1/start" || exit 125
  ENV=$1/start exec "$4" -i
  ;;
esac
