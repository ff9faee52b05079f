#!/usr/bin/env bash
# Copies what the dashboard takes from npm to producer/dashboard/static/vendor, with its licences.
#
# Another version: change it in package.json, run `npm install --package-lock-only` here, then
# `make vendor`, and look at what has changed. Needs npm; nobody else does.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=$(cd "$here/../.." && pwd)/producer/dashboard/static/vendor
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT

cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$work"
(cd "$work" && npm ci --ignore-scripts --silent)

rm -rf "$target"
mkdir -p "$target"
cd "$work/node_modules"
cp htmx.org/dist/htmx.min.js htmx-ext-sse/dist/sse.min.js idiomorph/dist/idiomorph-ext.min.js \
  uplot/dist/uPlot.iife.min.js uplot/dist/uPlot.min.css "$target"
for package in *; do
  cp "$package/LICENSE" "$target/$package.LICENSE.txt"
  echo "$package $(node --print "require('./$package/package.json').version")" >> "$target/VERSIONS"
done
cd "$target"
sha256sum -- * > "$here/SHA256SUMS"
