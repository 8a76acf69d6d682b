//! Nothing: builds the plugin that it depends on.
