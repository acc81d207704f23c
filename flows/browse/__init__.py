"""Look at a dataset and listen to it in a browser, and review it: a server for one person on this machine.

In: a dataset folder, and requests of a browser that knows the token. Out: pages, sound, pictures; `tables/reviews`.
Nothing else is changed.

`app` answers requests and keeps strangers out, `rows` filters and counts, `segments` gives what a segment's page plays
and draws, `rejected` the same for what is not in the dataset, `reviews` keeps what people say. Pages are in `pages/`,
style and script in `static/`.
"""

from flows.browse.app import make_app, serve

__all__ = ["make_app", "serve"]
