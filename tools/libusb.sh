#!/bin/sh
# Open3D on Linux loads libusb-1.0.so.0: install it where apt is there, else say what to type.
set -e
[ "$(uname -s)" = Linux ] || exit 0
for folder in /lib /usr/lib /lib64 /usr/lib64 /usr/local/lib /lib/*-linux-gnu /usr/lib/*-linux-gnu; do
    [ -e "$folder/libusb-1.0.so.0" ] && exit 0
done
line="apt-get update && apt-get install -y libusb-1.0-0"
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    (apt-get update -qq && apt-get install -y -qq libusb-1.0-0) </dev/null && exit 0
fi
echo "libusb-1.0.so.0 is missing, which Open3D needs. Type:" >&2
if command -v apt-get >/dev/null; then
    echo "  sudo sh -c '$line'" >&2
else
    echo "  dnf install libusb1    # or your system's package of libusb 1.0" >&2
fi
exit 1
