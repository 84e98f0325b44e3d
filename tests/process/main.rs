//! The program as its users meet it: a process with flags, signals and exit codes, its sockets, its certificates, its
//! pages, and what it must never tell. What the RPCs do is tested elsewhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code)]
#[path = "../kubernetes/fake_api.rs"]
mod fake_api;
#[path = "../support/mod.rs"]
mod support;

mod admin; //     the pages of the admin address
mod authority; // certificates
mod check; //     `check`
mod demo; //      `demo` and `simulate`
mod frames; //    a client that speaks bare HTTP/2
mod health; //    alive, ready, serving
mod k3s; //       a K3s server, as far as `check` asks it
mod limits; //    hosts and clients that want too much
mod mtls; //      who may connect
mod outage; //    hosts that are down when the server starts
mod pages; //     a client of the admin address
mod program; //   the process
mod reload; //    SIGHUP
mod renewal; //   certificates that are replaced while clients call
mod rotation; //  files that change on disk without a signal
mod secrecy; //   no token in any output
mod socket; //    unix sockets
mod stopping; //  SIGTERM and SIGINT
mod strangers; // servers that are not what somebody looks for
mod usage; //     flags, environment variables, exit codes
mod volume; //    files as Kubernetes swaps them
