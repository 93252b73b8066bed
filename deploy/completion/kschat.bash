# Completion of kschat for bash, made by `make docs`: put it in /etc/bash_completion.d/.
_kschat() {
  local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} words=''
  COMPREPLY=()
  case $before in
    --ca | --config | --control | --key-file | --logfile | --output | --secret-file | -c | -o)
      compopt -o default
      return
      ;;
    --api | --before | --cid | --expires | --from | --interval | --issued-before | --jti | --lines | --listen | --moderates | --name | --processes | --redis | --redis-prefix | --rooms | --store | --timeout | --to | --user | -b | -e | -f | -i | -j | -m | -n | -t | -u)
      return
      ;;
  esac
  if ((COMP_CWORD == 1)); then
    words='run status online sockets send history tail rooms disconnect revoke export erase token push-key backup restored migrate-store check-config settings-table completion --help --version'
  else
    case ${COMP_WORDS[1]} in
      run) words='--processes --logfile --listen --config --help' ;;
      status) words='--interval --watch --json --api --key-file --ca --timeout --config --help' ;;
      online) words='--json --api --key-file --ca --timeout --config --help' ;;
      sockets) words='--json --api --key-file --ca --timeout --config --help' ;;
      send) words='--from --cid --raw --json --api --key-file --ca --timeout --config --help' ;;
      history) words='--lines --before --all --json --api --key-file --ca --timeout --config --help' ;;
      tail) words='--lines --interval --json --api --key-file --ca --timeout --config --help' ;;
      rooms) words='--json --api --key-file --ca --timeout --config --help of members add remove' ;;
      disconnect) words='--json --api --key-file --ca --timeout --config --help' ;;
      revoke) words='--user --jti --expires --issued-before --lift --json --store --control --config --help' ;;
      export) words='--output --json --api --key-file --ca --timeout --config --help' ;;
      erase) words='--yes --json --api --key-file --ca --timeout --config --help' ;;
      token) words='--user --expires --rooms --moderates --to --name --json --secret-file --config --help inspect' ;;
      push-key) words='--show --json --help' ;;
      backup) words='--json --store --config --help' ;;
      restored) words='--json --store --config --help' ;;
      migrate-store) words='--drop-events --json --redis --redis-prefix --config --help' ;;
      check-config) words='--connect --json --config --help' ;;
      settings-table) words='--help' ;;
      completion) words='--help bash zsh fish' ;;
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
  if [[ ${COMP_WORDS[1]} == backup && $word != -* ]]; then
    compopt -o default
  fi
}
complete -F _kschat kschat
