"""stub"""
from dataclasses import dataclass
@dataclass(frozen=True)
class Column:
    name: str
    measure: str = "real"
    learned: bool = True
    def to_json(self): return {}
    @classmethod
    def from_json(cls, said): return cls("")
