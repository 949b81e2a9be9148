"""What a skops file may ask for without being asked about: types of scikit-learn, NumPy and SciPy that only hold data.

Every entry was reached by fitting an estimator of scikit-learn and reading what its file asks for
(tests/models/test_trusted.py does so for every estimator there is, and fails when one asks for more), and then
read: its constructor and its __setstate__ copy arrays and numbers, open nothing, import nothing, call nothing
that the file names. skops trusts the estimators themselves.

Two of them hold indices that compiled code follows without looking: `Tree` and `TreePredictor`. skops leaves
them out for that reason. They are here because `soundness.py` looks at every index before a model is used.
"""

from __future__ import annotations

_LOSSES = (
    "AbsoluteError",
    "ExponentialLoss",
    "HalfBinomialLoss",
    "HalfGammaLoss",
    "HalfMultinomialLoss",
    "HalfPoissonLoss",
    "HalfSquaredError",
    "HalfTweedieLoss",
    "HalfTweedieLossIdentity",
    "HuberLoss",
    "PinballLoss",
)
_LINKS = ("HalfLogitLink", "IdentityLink", "Interval", "LogLink", "LogitLink", "MultinomialLogit")

TRUSTED = frozenset(
    {
        # Losses and links: a handful of floats each. The `Cy` ones are their compiled halves.
        *(f"sklearn._loss.loss.{name}" for name in _LOSSES),
        *(f"sklearn._loss._loss.Cy{name}" for name in _LOSSES),
        *(f"_loss.Cy{name}" for name in _LOSSES),  # how some builds of scikit-learn spell the module
        *(f"sklearn._loss.link.{name}" for name in _LINKS),
        # Trees: arrays of nodes, checked by soundness.py.
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        # The columns a ColumnTransformer passes through: a list with a flag.
        "sklearn.compose._column_transformer._RemainderColsList",
    }
)
