//! azure-nixos-emulator
