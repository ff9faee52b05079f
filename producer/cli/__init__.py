"""The command `tenstep`. Modules import what is heavy inside their functions: --help is quick."""
