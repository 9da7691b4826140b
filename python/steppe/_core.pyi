__version__: str

class ClusterError(RuntimeError):
    rank: int

def build_info() -> dict[str, str]: ...
