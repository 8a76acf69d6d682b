#!/bin/bash
# SPDX-License-Identifier: MPL-2.0
#
# Makes the Debian packages of the plugin, in target/packages. Packages that are made on Debian 12
# work on later ones as well, but not the other way round.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/setup.sh
. .ci/setup.sh

install_packages "${BUILD_PACKAGES[@]}" "${DEB_PACKAGES[@]}"
find_cargo
target=$(target_directory)
version=$(sed -n '/^\[workspace.package\]/,/^$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
packages=$target/packages
source=$packages/gst-plugin-qwenasr-$version

say "Copying the source"
rm -rf "$packages"
mkdir -p "$source"
list_source | tar --create --null --files-from=- | tar --extract --directory "$source"
cp -r packaging/debian "$source/debian"
# The same whenever packages are made, as those of two architectures may be installed side by side.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(source_date)}
export SOURCE_DATE_EPOCH
(
    cd "$source"
    # Its own is that of the packages, not of what is in them, which CHANGELOG.md says.
    cat >debian/changelog <<END
gst-plugin-qwenasr ($version) unstable; urgency=medium

  * Version $version, see CHANGELOG.md.

 -- $(sed -n 's/^Maintainer: //p' debian/control)  $(LC_ALL=C date --utc -R -d "@$SOURCE_DATE_EPOCH")
END
    say "Building"
    # Rust may be another than Debian's.
    CARGO_TARGET_DIR=$target dpkg-buildpackage --build=binary --unsigned-changes --no-check-builddeps
)
rm -rf "$source"

say "Checking"
lintian --allow-root --fail-on error,warning --tag-display-limit 0 "$packages"/*.changes
contents=$packages/contents
for deb in "$packages"/*.deb; do
    dpkg-deb --extract "$deb" "$contents"
done
while IFS=: read -r page link; do
    [ -e "$(dirname "$page")/$link" ] || fail "in the packages, $page names $link, which is not there"
done < <(grep -roP --include='*.md' '\]\(\K[^)#: ]+(?=[)#])' "$contents")
rm -rf "$contents"
ls -l "$packages"/*.deb
