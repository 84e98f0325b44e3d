#!/bin/bash
# The installer: installs the fake k3s unless told not to, and enables the unit.
. "$SLICER_JOIN_ROOT/fake/record"
printf '%s\n' "${!INSTALL_K3S_@}" | while read -r variable; do
    echo "$variable=${!variable}"
done >"$fake/installer-variables"
if shall_fail installer; then
    echo '[ERROR]  Download failed'
    exit 1
fi
if [[ ${INSTALL_K3S_SKIP_DOWNLOAD:-} != true ]]; then
    echo "${INSTALL_K3S_VERSION:-v0.0.0+channel}" >"$fake/k3s-version"
    install -m 0755 "$fake/k3s" "$SLICER_JOIN_ROOT/usr/local/bin/k3s"
fi
systemctl enable k3s-agent
