# Sourced by the launchers: environment variables become options of `navicache generate`.
# shellcheck shell=bash

arguments=(generate)

# option FLAG VALUE: pass the option on, unless the value is empty.
option() {
    if [ -n "$2" ]; then arguments+=("$1=$2"); fi
}

# checkout VARIABLE FILE: take the current directory as the official checkout if FILE is in it, unless
# VARIABLE names another one.
checkout() {
    if [ -e "$2" ] && [ -z "${!1:-}" ]; then option --repo "$PWD"; fi
}

# save_path VALUE: a video's name, or a folder to put videos in.
save_path() {
    case $1 in
        *.mp4) option --output "$1" ;;
        *) option --output-dir "$1" ;;
    esac
}

# launch ARGUMENTS…: run navicache, in NPROC processes on as many GPUs if that is set. ARGUMENTS win over all
# of the above: NPROC=4 navicache_wan.sh --ulysses 2 --ring 2.
launch() {
    if [ "${NPROC:-1}" = 1 ]; then
        exec navicache "${arguments[@]}" "$@"
    fi
    option --ulysses "$NPROC"
    exec torchrun --standalone --nproc-per-node "$NPROC" --no-python navicache "${arguments[@]}" "$@"
}
