"""Microsoft Graph v1.0 as far as mail metadata needs it: paths, answers and errors of its shape."""
