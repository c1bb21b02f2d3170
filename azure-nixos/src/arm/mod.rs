//! Azure Resource Manager: client, long-running operations, errors, resource providers.
