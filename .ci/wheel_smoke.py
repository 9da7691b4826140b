"""Import everything that an installed wheel offers; with several ranks, join them."""

import importlib
import importlib.util
import pkgutil

import steppe

for module in pkgutil.iter_modules(steppe.__path__):
    if module.name not in ("__main__", "_mpi", "torch"):
        importlib.import_module(f"steppe.{module.name}")

if importlib.util.find_spec("mpi4py") is not None:
    from steppe.parallel import Cluster

    cluster = Cluster.world()
    assert cluster.sum(1) == cluster.size
    print(f"rank {cluster.rank} of {cluster.size}")
