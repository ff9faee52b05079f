"""Parts and whole images of models, in tenstep and in its peers, measured in turn."""
