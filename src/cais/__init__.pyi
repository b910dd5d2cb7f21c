from cais.diag.api import CaisError as CaisError
from cais.diag.api import Diagnostic as Diagnostic
from cais.diag.api import Faults as Faults
from cais.load.api import load as load
from cais.model.stack import Stack as Stack
from cais.source.api import Span as Span

__version__: str
