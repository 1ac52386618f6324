"""One file for each family of verbs; a verb is `async (Machine, Storage, ApiRequest) -> Response`."""
