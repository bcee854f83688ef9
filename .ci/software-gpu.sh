#!/usr/bin/env bash
# A GPU in software for machines without one: prints what to put in the environment, `eval "$(.ci/software-gpu.sh)"`; nothing where there is
# a GPU already, and with 1 where none can be had. Mesa's lavapipe 23 or newer (f16, subgroups of 8): the system's, else Debian 12's from
# its backports, unpacked in the cache without touching the system's sources (its own 22.3 lacks what Dawn asks for). Else, or with
# `swiftshader`, what comes with Chromium (no f16, subgroups of 4).
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/openelm/lavapipe
runtime="export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}"

has_gpu() { # [NAME=VALUE...]: whether Dawn finds one
  env "$@" node --input-type=module -e "
    const { create } = await import('webgpu');
    process.exitCode = await create([]).requestAdapter().then((adapter) => (adapter ? 0 : 1), () => 1);" 2>/dev/null
}

root_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

swiftshader() {
  local icd
  for icd in /usr/lib/chromium/vk_swiftshader_icd.json /opt/google/chrome/vk_swiftshader_icd.json; do
    [ -f "$icd" ] && has_gpu VK_ICD_FILENAMES="$icd" && echo "export VK_ICD_FILENAMES=$icd" && return 0
  done
  return 1
}

backports() {
  local mirror options library=$cache/root/usr/lib/x86_64-linux-gnu
  if [ ! -f "$cache/icd.json" ]; then
    . /etc/os-release
    root_apt && [ "${VERSION_CODENAME:-}" = bookworm ] && [ "$(dpkg --print-architecture)" = amd64 ] || return 1
    apt-get install -y -qq --no-install-recommends libvulkan1 libllvm15 libxshmfence1 libelf1 libwayland-client0 libx11-xcb1 \
      libxcb-dri3-0 libxcb-present0 libxcb-randr0 libxcb-shm0 libxcb-sync1 libxcb-xfixes0 >/dev/null 2>&1 || return 1
    rm -rf "$cache"
    mkdir -p "$cache/lists/partial" "$cache/archives/archives/partial" "$cache/deb"
    mirror=$(sed -n 's/^URIs: *//p;s/^deb [^h]*\(http[^ ]*\).*/\1/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm-backports main" > "$cache/sources.list"
    options="-o Dir::Etc::sourcelist=$cache/sources.list -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists=$cache/lists -o Dir::Cache=$cache/archives"
    # shellcheck disable=SC2086
    apt-get $options update >/dev/null 2>&1 && (cd "$cache/deb" && apt-get $options download mesa-vulkan-drivers libdrm2 libdrm-amdgpu1 >/dev/null 2>&1) || return 1
    for deb in "$cache"/deb/*.deb; do dpkg -x "$deb" "$cache/root"; done
    find "$cache/root" -name "libvulkan_*" ! -name "*_lvp.so" -delete
    rm -rf "$cache/deb" "$cache/lists" "$cache/archives"
    sed "s#\"library_path\": \"[^\"]*\"#\"library_path\": \"$library/libvulkan_lvp.so\"#" "$cache"/root/usr/share/vulkan/icd.d/lvp_icd*.json > "$cache/icd.json"
  fi
  has_gpu VK_ICD_FILENAMES="$cache/icd.json" LD_LIBRARY_PATH="$library" || return 1
  echo "export VK_ICD_FILENAMES=$cache/icd.json LD_LIBRARY_PATH=$library"
}

if [ "${1:-}" = swiftshader ]; then
  swiftshader
  exit
fi
has_gpu && exit 0
echo "$runtime"
if root_apt && ! [ -f "$cache/icd.json" ]; then
  version=$(apt-cache policy mesa-vulkan-drivers 2>/dev/null | sed -n 's/ *Candidate: \([0-9]*\).*/\1/p')
  if [ "${version:-0}" -ge 23 ]; then
    apt-get install -y -qq --no-install-recommends libvulkan1 mesa-vulkan-drivers >/dev/null 2>&1 && has_gpu && exit 0
  fi
fi
backports || swiftshader
