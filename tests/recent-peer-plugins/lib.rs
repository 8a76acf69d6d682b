// SPDX-License-Identifier: MPL-2.0
//! Nothing: what is of interest are the dependencies.
