# What the checks of the OpenAPI document share: their tools, and a server. Sourced by them, from any folder.
# Tools are installed below $CARGO_TARGET_DIR/tools/openapi, each version once; nothing else is written.

openapi=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tools=${CARGO_TARGET_DIR:-$openapi/../../target}/tools/openapi
mkdir -p "$tools"
tools=$(realpath "$tools")
work=$(mktemp -d)
pids=()

say() { printf '%s\n' "$*"; }
fail() {
    say "FAILED: $*" >&2
    [[ ! -s $work/log.txt ]] || { say "--- the end of the server's log" && tail -n 20 "$work/log.txt"; } >&2
    exit 1
}

# Ends these checks without a verdict, where their tools cannot be had: without a network, say.
leave_out() {
    say "== without these checks of the OpenAPI document: $*"
    exit 0
}

stop() {
    local pid
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap stop EXIT

# --- Tools ----------------------------------------------------------------------------

# Each name with its version: a new version gets a folder of its own.
node_packages=(
    @redocly/cli@2.77.0 @stoplight/spectral-cli@6.16.3
    openapi-typescript@7.13.0 openapi-fetch@0.17.0 typescript@5.9.3 @types/node@20.19.0
)
python_packages=(openapi-python-client==0.29.1 ruff==0.17.6 schemathesis==4.32.5)

# Installs Node's packages once; their programs are in `$node`.
find_node() {
    local versions
    versions=$(printf '%s\n' "${node_packages[@]}" | sha256sum | cut -c1-12)
    modules=$tools/node-$versions/node_modules
    node=$modules/.bin
    [[ -e $tools/node-$versions/done ]] && return
    mkdir -p "$tools/node-$versions"
    printf '{"private": true}\n' >"$tools/node-$versions/package.json"
    npm install --prefix "$tools/node-$versions" --no-audit --no-fund --silent "${node_packages[@]}" ||
        leave_out "they need node and npm, and npm's packages ${node_packages[*]}"
    touch "$tools/node-$versions/done"
}

# Installs Python's packages once; their programs are in `$python`.
find_python() {
    local versions
    versions=$(printf '%s\n' "${python_packages[@]}" | sha256sum | cut -c1-12)
    python=$tools/python-$versions/bin
    [[ -e $tools/python-$versions/done ]] && return
    python3 -m venv "$tools/python-$versions"
    "$python/pip" install --quiet --disable-pip-version-check "${python_packages[@]}" ||
        leave_out "they need python3 with venv, and the packages ${python_packages[*]}"
    touch "$tools/python-$versions/done"
}

# --- A server -------------------------------------------------------------------------

# The database of the server's own on the servers that tests use, or nothing for SQLite.
new_database() {
    [[ -n ${BURSAR_TEST_DATABASE_URL:-} ]] || return 0
    local psql name=openapi_$$
    psql=$(command -v psql || compgen -G '/usr/lib/postgresql/*/bin/psql' | tail -n 1) || fail "psql is not here"
    "$psql" --quiet --no-psqlrc "$BURSAR_TEST_DATABASE_URL" --command "CREATE DATABASE $name" >&2
    say "$BURSAR_TEST_DATABASE_URL" | sed -E "s#/[^/?]*(\?|\$)#/$name\1#"
}

# Starts the sandbox beside `bursar` as Stripe, for a server on Postgres: there none is built in.
start_sandbox() {
    local port
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "$(dirname "$1")/bursar-sandbox" --listen "127.0.0.1:$port" >"$work/sandbox.txt" 2>&1 &
    pids+=($!)
    export STRIPE_SECRET_KEY=sk_test_openapi STRIPE_API_BASE=http://127.0.0.1:$port
    await "$STRIPE_API_BASE/" $!
}

# Waits until an address answers anything.
await() {
    local url=$1 pid=$2 tries=0
    until curl --silent --output /dev/null "$url"; do
        kill -0 "$pid" 2>/dev/null || fail "$url: its server has ended"
        ((++tries < 600)) || fail "$url does not answer"
        sleep 0.1
    done
}

# Starts a server with Stripe's sandbox and a customer, and exports how to reach them. The limits for one address are
# off: every request comes from here.
start_server() {
    local bursar=$1 database tries=0
    export BURSAR_ADMIN_TOKEN=bat_openapi_2b7d90c4f1e86a35d07f9c21b4
    export STRIPE_WEBHOOK_SECRET=whsec_4Kd8Yw2Qe6Rb9TnVc3HsLm7Z GITHUB_WEBHOOK_SECRET=ghwh_openapi_9c3f5b1d70e8426a
    # Postgres needs a key of its own, SQLite keeps one in the data folder.
    BURSAR_SECRET_KEY=$(python3 -c "import secrets; print(secrets.token_hex(32))")
    export BURSAR_SECRET_KEY
    database=$(new_database)
    [[ -z $database ]] || start_sandbox "$bursar"
    (
        cd "$work"
        exec env BURSAR_DATA_DIR="$work/data" BURSAR_LISTEN=127.0.0.1:0 \
            BURSAR_ONBOARDING__PER_IP_PER_MINUTE=0 BURSAR_CREDITS__BONUS_ONCE_PER_CARD=false \
            ${database:+DATABASE_URL="$database"} "$bursar" serve --demo
    ) >"$work/stdout.txt" 2>"$work/log.txt" &
    pids+=($!)
    until BURSAR_API_KEY=$(grep -oE 'bsk_[a-z0-9]+' "$work/stdout.txt" | head -n 1); do
        kill -0 "${pids[-1]}" 2>/dev/null || fail "the server has ended"
        ((++tries < 600)) || fail "the server does not serve"
        sleep 0.1
    done
    BURSAR_URL=$(grep -oE 'http://[0-9.:]+/docs' "$work/stdout.txt" | head -n 1)
    export BURSAR_API_KEY BURSAR_URL=${BURSAR_URL%/docs}
}

# Puts the given document, or else the server's, where the checks take it from.
fetch_document() {
    if [[ -n $1 ]]; then
        cp "$1" "$work/openapi.json"
    else
        curl --silent --show-error --fail --output "$work/openapi.json" "$BURSAR_URL/openapi.json"
    fi
}
