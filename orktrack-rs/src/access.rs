//! The first account: without one there is a set-up token, printed when the tracker starts.

use crate::{
    secret,
    store::{Store, accounts},
};

/// Makes a set-up token if there is no account yet; the one of an earlier start counts no more.
pub(crate) async fn offer_setup(store: &Store) {
    let token = match secret::token() {
        Ok(token) => token,
        Err(error) => return tracing::error!("no set-up token: {error}"),
    };
    let hash = secret::sha256(&token);
    match store.write(move |session| accounts::begin_setup(session, &hash)).await {
        Ok(true) => tracing::warn!(
            "there is no account yet; make the first one with the set-up token {token}: \
             `orktrack accounts add NAME --role admin`, or POST /api/v1/setup \
             {{\"token\", \"name\", \"password\"}}"
        ),
        Ok(false) => {}
        Err(error) => tracing::error!("cannot look for accounts: {error}"),
    }
}
