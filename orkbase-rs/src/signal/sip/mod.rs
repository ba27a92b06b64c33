//! SIP (RFC 3261) and SDP (RFC 8866), read tolerantly from borrowed bytes.
