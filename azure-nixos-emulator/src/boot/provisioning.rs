//! What a guest is told of its user: Azure's `ovf-env.xml`, on a CD.
//!
//! Azure's agent and cloud-init look for the CD by its file. They also want Azure's wire server
//! (168.63.129.16) and metadata service (169.254.169.254), which no machine here has: a guest that
//! waits for those waits until its own patience ends.

use super::iso9660;

/// What the `osProfile` of a machine says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Provisioning {
    pub(crate) host_name: String,
    pub(crate) user_name: String,
    pub(crate) password: Option<String>,
    pub(crate) disable_password: bool,
    /// Path and key.
    pub(crate) ssh_keys: Vec<(String, String)>,
    /// As it was given: base64.
    pub(crate) custom_data: Option<String>,
}

impl Provisioning {
    /// The image of the CD.
    pub(super) fn cd(&self) -> Vec<u8> {
        // Azure's label has a date and a build behind this.
        iso9660::image(
            "rd_rdfe_stable",
            &[("ovf-env.xml", self.document().as_bytes())],
        )
    }

    fn document(&self) -> String {
        let element = |name: &str, text: &str| format!("<{name}>{}</{name}>", escape(text));
        let optional = |name: &str, text: &Option<String>| {
            text.as_deref()
                .map_or_else(String::new, |text| element(name, text))
        };
        let keys: String = self
            .ssh_keys
            .iter()
            .map(|(path, key)| {
                format!(
                    "<PublicKey>{}{}</PublicKey>",
                    element("Path", path),
                    element("Value", key.trim())
                )
            })
            .collect();
        let ssh = if keys.is_empty() {
            String::new()
        } else {
            format!("<SSH><PublicKeys>{keys}</PublicKeys></SSH>")
        };
        let set = [
            element("ConfigurationSetType", "LinuxProvisioningConfiguration"),
            element("HostName", &self.host_name),
            element("UserName", &self.user_name),
            optional("UserPassword", &self.password),
            element(
                "DisableSshPasswordAuthentication",
                &self.disable_password.to_string(),
            ),
            ssh,
            optional("CustomData", &self.custom_data),
        ]
        .concat();
        format!(
            r#"<?xml version="1.0" encoding="utf-8"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:oe="http://schemas.dmtf.org/ovf/environment/1" xmlns:wa="http://schemas.microsoft.com/windowsazure" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<wa:ProvisioningSection><wa:Version>1.0</wa:Version>
<LinuxProvisioningConfigurationSet xmlns="http://schemas.microsoft.com/windowsazure" xmlns:i="http://www.w3.org/2001/XMLSchema-instance">{set}</LinuxProvisioningConfigurationSet>
</wa:ProvisioningSection>
<wa:PlatformSettingsSection><wa:Version>1.0</wa:Version>
<wa:PlatformSettings><wa:KmsServerHostname>kms.core.windows.net</wa:KmsServerHostname><wa:ProvisionGuestAgent>true</wa:ProvisionGuestAgent><wa:GuestAgentPackageName xsi:nil="true" /><wa:PreprovisionedVm>false</wa:PreprovisionedVm><wa:PreprovisionedVMType>None</wa:PreprovisionedVMType></wa:PlatformSettings>
</wa:PlatformSettingsSection>
</Environment>
"#
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_what_the_profile_says() {
        let document = Provisioning {
            host_name: "web".to_owned(),
            user_name: "nixos".to_owned(),
            password: Some("a<b&c wa:x".to_owned()),
            disable_password: true,
            ssh_keys: vec![(
                "/home/nixos/.ssh/authorized_keys".to_owned(),
                "ssh-ed25519 AAAA me\n".to_owned(),
            )],
            custom_data: Some("aGVsbG8=".to_owned()),
        }
        .document();
        for part in [
            "<HostName>web</HostName><UserName>nixos</UserName>",
            "<UserPassword>a&lt;b&amp;c wa:x</UserPassword>",
            "<DisableSshPasswordAuthentication>true</DisableSshPasswordAuthentication>",
            "<PublicKey><Path>/home/nixos/.ssh/authorized_keys</Path><Value>ssh-ed25519 AAAA me</Value></PublicKey>",
            "<CustomData>aGVsbG8=</CustomData>",
        ] {
            assert!(document.contains(part), "{part}: {document}");
        }
        let without = Provisioning::default().document();
        assert!(!without.contains("SSH>") && !without.contains("CustomData"));
    }
}
