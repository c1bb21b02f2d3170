//! A machine as its documents describe it, and the qemu that is the same.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde_json::json;
use uuid::Uuid;

use super::Options;
use super::programs::Programs;
use super::provisioning::Provisioning;

/// By this asset tag of its chassis a guest knows that it is in Azure.
const ASSET_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// A machine to start.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) vm_id: String,
    /// Where its own files are.
    pub(crate) directory: PathBuf,
    pub(crate) is_uefi: bool,
    pub(crate) cores: u64,
    /// In MiB.
    pub(crate) memory: u64,
    /// Whether its disks are NVMe namespaces; else the OS disk is on IDE, as on Azure's first
    /// generation, and the others are SCSI.
    pub(crate) is_nvme: bool,
    pub(crate) os_disk: Drive,
    /// By their logical unit numbers.
    pub(crate) data_disks: Vec<(u64, Drive)>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) provisioning: Option<Provisioning>,
}

/// The file of a disk.
#[derive(Clone, Debug)]
pub(crate) struct Drive {
    pub(crate) file: PathBuf,
    /// Its page blob.
    pub(crate) blob: Uuid,
    /// The disk's own size: the file's less the footer.
    pub(crate) size: u64,
}

/// A network interface.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    /// `00:0D:3A:…`
    pub(crate) mac: String,
    pub(crate) address: Ipv4Addr,
    /// The subnet, with its length.
    pub(crate) subnet: (Ipv4Addr, u8),
    /// Its public address, with the ports that are open.
    pub(crate) public: Option<(Ipv4Addr, Vec<u16>)>,
}

/// A port of the guest, and where it can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Forward {
    pub(super) public: Ipv4Addr,
    pub(super) port: u16,
    /// The port of this host, another one where that is taken or only root may have it.
    pub(super) host_port: u16,
    pub(super) guest: Ipv4Addr,
}

impl Spec {
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// qemu's arguments. It runs in the machine's directory, so the names of its own files are
    /// short: that of a socket may not be long.
    pub(super) fn arguments(
        &self,
        programs: &Programs,
        options: &Options,
        forwards: &[Forward],
        durable: bool,
    ) -> Vec<String> {
        let mut arguments: Vec<String> = Vec::new();
        let mut add = |flag: &str, value: String| {
            arguments.push(format!("-{flag}"));
            if !value.is_empty() {
                arguments.push(value);
            }
        };
        add("name", format!("guest={}", plain(&self.name)));
        add("nodefaults", String::new());
        add("no-user-config", String::new());
        add("display", "none".to_owned());
        let flash = if self.is_uefi {
            ",pflash0=code,pflash1=variables"
        } else {
            ""
        };
        add("machine", format!("pc{flash}"));
        let (accelerator, processor) = if programs.kvm {
            ("kvm", "host")
        } else {
            // Translated code is kept in this many MiB; by default it may be a GiB.
            ("tcg,tb-size=256", "max")
        };
        add("accel", accelerator.to_owned());
        add("cpu", processor.to_owned());
        add("smp", self.cores.min(options.cores).to_string());
        add("m", self.memory.min(options.memory).to_string());
        add("uuid", self.vm_id.clone());
        // Not Hyper-V's maker and product too: Linux leaves IDE disks alone where it reads them, as
        // Hyper-V offers each disk a second time in its own way.
        add("smbios", format!("type=3,asset={ASSET_TAG}"));
        add("rtc", "base=utc".to_owned());
        add("vga", "std".to_owned());
        add("device", "virtio-rng-pci".to_owned());
        add("chardev", "stdio,id=serial,signal=off".to_owned());
        add("serial", "chardev:serial".to_owned());
        add(
            "chardev",
            "socket,id=qmp,path=qmp,server=on,wait=off".to_owned(),
        );
        add("mon", "chardev=qmp,mode=control".to_owned());

        let block = |node: &str, file: &Path, size: Option<u64>, is_read_only: bool| {
            let mut node = json!({
                "driver": "raw",
                "node-name": node,
                "read-only": is_read_only,
                "file": { "driver": "file", "filename": file },
                "cache": { "direct": false, "no-flush": !durable },
            });
            if let Some(size) = size {
                // The footer is behind the disk, and not the guest's.
                node["size"] = json!(size);
                node["discard"] = json!("unmap");
                node["detect-zeroes"] = json!("unmap");
            }
            node.to_string()
        };
        if let (true, Some((code, _))) = (self.is_uefi, &programs.firmware) {
            add("blockdev", block("code", code, None, true));
            let variables = Path::new("variables.fd");
            add("blockdev", block("variables", variables, None, false));
        }
        add("device", "virtio-scsi-pci,id=scsi".to_owned());
        if self.is_nvme {
            add("device", "nvme,id=disks,serial=local".to_owned());
        }
        let disk = |node: &str, drive: &Drive| block(node, &drive.file, Some(drive.size), false);
        add("blockdev", disk("os", &self.os_disk));
        add(
            "device",
            if self.is_nvme {
                "nvme-ns,drive=os,bus=disks,nsid=1,bootindex=1".to_owned()
            } else {
                "ide-hd,drive=os,bus=ide.0,unit=0,bootindex=1".to_owned()
            },
        );
        for (lun, drive) in &self.data_disks {
            add("blockdev", disk(&format!("data{lun}"), drive));
            add(
                "device",
                if self.is_nvme {
                    // Azure numbers them from 2 on, as 1 is the OS disk's.
                    format!("nvme-ns,drive=data{lun},bus=disks,nsid={}", lun + 2)
                } else {
                    format!("scsi-hd,drive=data{lun},bus=scsi.0,channel=0,scsi-id=0,lun={lun}")
                },
            );
        }
        if self.provisioning.is_some() {
            let cd = Path::new("provisioning.iso");
            add("blockdev", block("cd", cd, None, true));
            // Not on IDE: after UEFI firmware Linux was seen to miss it there.
            add("device", "scsi-cd,drive=cd,bus=scsi.0,scsi-id=1".to_owned());
        }
        for (number, interface) in self.interfaces.iter().enumerate() {
            add(
                "netdev",
                interface.netdev(number, options.outbound, forwards),
            );
            add(
                "device",
                format!(
                    "virtio-net-pci,netdev=net{number},mac={}",
                    interface.mac.replace('-', ":")
                ),
            );
        }
        arguments
    }
}

impl Interface {
    /// A network of its own, in which it gets its Azure address by DHCP. The router is the first
    /// address of the subnet, as in Azure.
    fn netdev(&self, number: usize, outbound: bool, forwards: &[Forward]) -> String {
        let (network, length) = self.subnet;
        let at = |offset: u32| Ipv4Addr::from(u32::from(network).wrapping_add(offset));
        let mut netdev = format!(
            "user,id=net{number},ipv6=off,net={network}/{length},host={},dns={},dhcpstart={}",
            at(1),
            at(3),
            self.address
        );
        if !outbound {
            netdev.push_str(",restrict=on");
        }
        for forward in forwards.iter().filter(|one| one.guest == self.address) {
            netdev.push_str(&format!(
                ",hostfwd=tcp:{}:{}-{}:{}",
                forward.public, forward.host_port, forward.guest, forward.port
            ));
        }
        netdev
    }
}

/// A name without the commas that mean something to qemu.
fn plain(name: &str) -> String {
    name.replace(',', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            name: "web".to_owned(),
            vm_id: Uuid::nil().to_string(),
            directory: PathBuf::from("/state/machines/0"),
            is_uefi: false,
            cores: 64,
            memory: 262_144,
            is_nvme: false,
            os_disk: Drive {
                file: PathBuf::from("/state/disks/rg/a,b \"c\".vhd"),
                blob: Uuid::nil(),
                size: 20 << 20,
            },
            data_disks: vec![(
                7,
                Drive {
                    file: PathBuf::from("/state/disks/rg/data.vhd"),
                    blob: Uuid::nil(),
                    size: 1 << 30,
                },
            )],
            interfaces: vec![Interface {
                mac: "00-0D-3A-01-02-03".to_owned(),
                address: Ipv4Addr::new(10, 0, 0, 4),
                subnet: (Ipv4Addr::new(10, 0, 0, 0), 24),
                public: None,
            }],
            provisioning: Some(Provisioning::default()),
        }
    }

    fn line(spec: &Spec) -> String {
        let programs = Programs {
            qemu: PathBuf::from("qemu"),
            firmware: Some((PathBuf::from("/code.fd"), PathBuf::from("/vars.fd"))),
            kvm: true,
        };
        let forwards = [Forward {
            public: Ipv4Addr::new(127, 32, 0, 9),
            port: 22,
            host_port: 40022,
            guest: Ipv4Addr::new(10, 0, 0, 4),
        }];
        spec.arguments(&programs, &Options::default(), &forwards, false)
            .join("\n")
    }

    #[test]
    fn a_machine_is_what_its_documents_say_within_the_limits() {
        let line = line(&spec());
        for part in [
            "-machine\npc\n-accel\nkvm\n-cpu\nhost\n",
            "-smp\n2\n",
            "-m\n2048\n",
            r#""filename":"/state/disks/rg/a,b \"c\".vhd""#,
            r#""size":20971520"#,
            "scsi-hd,drive=data7,bus=scsi.0,channel=0,scsi-id=0,lun=7",
            "scsi-cd,drive=cd",
            "net=10.0.0.0/24,host=10.0.0.1,dns=10.0.0.3,dhcpstart=10.0.0.4,restrict=on,hostfwd=tcp:127.32.0.9:40022-10.0.0.4:22",
            "mac=00:0D:3A:01:02:03",
        ] {
            assert!(line.contains(part), "{part} is not in:\n{line}");
        }
        assert!(!line.contains("pflash"), "{line}");
    }

    #[test]
    fn generation_two_has_firmware_and_new_sizes_have_namespaces() {
        let line = line(&Spec {
            is_uefi: true,
            is_nvme: true,
            provisioning: None,
            ..spec()
        });
        for part in [
            "pc,pflash0=code,pflash1=variables",
            r#""filename":"/code.fd""#,
            r#""filename":"variables.fd""#,
            "nvme-ns,drive=os,bus=disks,nsid=1,bootindex=1",
            "nvme-ns,drive=data7,bus=disks,nsid=9",
        ] {
            assert!(line.contains(part), "{part} is not in:\n{line}");
        }
        assert!(
            !line.contains("scsi-hd") && !line.contains("scsi-cd"),
            "{line}"
        );
    }
}
