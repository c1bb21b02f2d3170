//! The connection that a command uses: Azure, or a local one that lives as long as the command.

use azure_nixos::azure::AzureBuilder;
use azure_nixos::vm::{Machine, Machines};
use azure_nixos::{Azure, Error};

use crate::args::{Global, WhichVm};
use crate::output;
use crate::run::Failure;

/// The login that the options ask for.
pub(crate) fn settings(global: &Global) -> AzureBuilder {
    let mut builder = Azure::builder();
    if let Some(cloud) = &global.cloud {
        builder = builder.cloud_named(cloud);
    }
    if let Some(subscription) = &global.subscription {
        builder = builder.subscription(subscription);
    }
    builder
}

/// Whether the options ask for a local Azure.
pub(crate) fn is_local(global: &Global) -> bool {
    #[cfg(feature = "local")]
    return global.local;
    #[cfg(not(feature = "local"))]
    {
        let _ = global;
        false
    }
}

/// A connection, and what must be ended after it.
pub(crate) struct Connection {
    pub(crate) azure: Azure,
    #[cfg(feature = "local")]
    local: Option<azure_nixos_emulator::Emulator>,
}

impl Connection {
    /// Connects as the options say.
    pub(crate) async fn open(global: &Global) -> Result<Self, Failure> {
        #[cfg(feature = "local")]
        if global.local {
            return Self::open_local(local::start(&local::directory()?).await?).await;
        }
        let azure = settings(global).build().await?;
        if global.verbose > 0 {
            output::note(&format!(
                "{}, subscription {}",
                azure.login(),
                azure.subscription_id()
            ));
        }
        Ok(Self {
            azure,
            #[cfg(feature = "local")]
            local: None,
        })
    }

    /// The machine that is meant.
    pub(crate) async fn machine(&self, which: &WhichVm) -> Result<Machine, Error> {
        let machines = Machines::new(&self.azure);
        // One of the two is there.
        let name = which.vm.as_ref().or(which.name.as_ref());
        let name = name.map_or("", String::as_str);
        match &which.resource_group {
            Some(group) => Ok(machines.machine(group, name)),
            None => machines.find(name).await,
        }
    }

    /// Connects to a local Azure and keeps it.
    #[cfg(feature = "local")]
    pub(crate) async fn open_local(
        emulator: azure_nixos_emulator::Emulator,
    ) -> Result<Self, Failure> {
        let azure = local::connect(&emulator).await?;
        Ok(Self {
            azure,
            local: Some(emulator),
        })
    }

    /// The local Azure behind it.
    #[cfg(feature = "local")]
    pub(crate) fn local(&self) -> Option<&azure_nixos_emulator::Emulator> {
        self.local.as_ref()
    }

    /// Ends it; a local Azure writes down what it has.
    pub(crate) async fn close(self) {
        #[cfg(feature = "local")]
        if let Some(emulator) = self.local {
            emulator.stop().await;
        }
    }
}

/// The local Azure.
#[cfg(feature = "local")]
pub(crate) mod local {
    use std::path::{Path, PathBuf};

    use azure_nixos::Azure;
    use azure_nixos::azure::{Cloud, Transport};
    use azure_nixos_emulator::Emulator;

    use crate::run::Failure;
    use crate::transfer::state_directory;

    /// Where a local Azure lives unless a command says otherwise.
    pub(crate) fn directory() -> Result<PathBuf, Failure> {
        std::env::var_os("AZURE_NIXOS_LOCAL_DIR")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
            .or_else(|| state_directory("local"))
            .ok_or_else(|| {
                Failure::Other(
                    "there is no place for a local Azure: set AZURE_NIXOS_LOCAL_DIR or HOME".into(),
                )
            })
    }

    pub(crate) async fn start(directory: &Path) -> Result<Emulator, Failure> {
        Emulator::builder()
            .state_dir(directory)
            .start()
            .await
            .map_err(|error| Failure::Other(format!("cannot start the local Azure: {error}")))
    }

    pub(crate) async fn connect(emulator: &Emulator) -> Result<Azure, Failure> {
        let transport = Transport::builder()
            .ca_certificates(emulator.ca_pem().as_bytes())?
            .build()?;
        let cloud = Cloud::custom(emulator.arm_url(), &transport).await?;
        let azure = Azure::builder()
            .cloud(cloud)
            .transport(transport)
            .access_token(emulator.access_token())
            .subscription(emulator.subscription_id())
            .build()
            .await?;
        Ok(azure)
    }
}
