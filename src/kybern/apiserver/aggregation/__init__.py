"""Aggregation: groups and versions that another API server answers for, behind a Service (APIService objects say which).

`apis` knows them and is the way in; `passing` sends a request on in its user's name; `availability` decides whether one
can be reached; `merging` joins their documents with ours; `registration` tells which groups this server has itself.
"""
