# Sourced by the other scripts: makes or reuses .venv from nothing but Python 3.11 and pip.
# _venv_for=running leaves out what only tests need; what has all serves for that too.
# The stamp is the digest of what is installed, so a changed pin reinstalls and an unchanged one costs nothing.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
_python=${PYTHON:-python3}
"$_python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Message Fabric needs Python 3.11 or newer. Set PYTHON to one, for example: PYTHON=python3.11 $0" >&2
    exit 2
}
_stamp=$(cat pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1)
_what='.[dev]'
_installed=$(cat .venv/.stamp 2>/dev/null || true)
if [ "${_venv_for:-tests}" = running ] && [ "$_installed" != "$_stamp" ]; then
    _what=. _stamp="$_stamp running"
fi
if [ "$_installed" != "$_stamp" ]; then
    echo "Installing into .venv ..." >&2
    "$_python" -m venv .venv
    PIP_CONSTRAINT="$PWD/constraints.txt" .venv/bin/python -m pip install -q --disable-pip-version-check -e "$_what" >&2 || {
        echo "The packages could not be installed: see above. They come from PyPI, or from where pip's configuration says." >&2
        echo "Run $0 again when it can be reached." >&2
        exit 1
    }
    echo "$_stamp" > .venv/.stamp
fi
export PATH="$PWD/.venv/bin:$PATH"
