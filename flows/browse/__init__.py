"""Look at a dataset and listen to it in a browser, and review it: a server for one person on this machine.

In: a dataset folder, and requests of a browser that knows the token. Out: pages, sound, pictures; `tables/reviews`.
Nothing else is changed.

`app` has the addresses, `access` keeps strangers out, `pages` and `loads` answer. `filters` is what a view shows,
`conditions` which SQL it may have, `held` and `rows` find rows. `facts` is what is known of a segment besides its row,
`alignment` compares two, `segments`, `sounds` and `spectrogram` give what is played and drawn, `remembered` keeps what
takes long. What people say is kept by `release/reviews.py`. HTML is in `templates/`, style and script in `static/`,
with the libraries of others in `static/vendored/`.
"""

from flows.browse.app import make_app, serve

__all__ = ["make_app", "serve"]
