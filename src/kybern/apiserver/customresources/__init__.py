"""Custom kinds at run time: `serving` follows the definitions and puts what they define among what is served, `cleanup`
deletes the objects of a definition that goes."""
