"""What a skops file may ask for without being asked about: types of scikit-learn, NumPy and SciPy that only hold data,
and functions of theirs that only compute.

Every entry was reached by fitting an estimator of scikit-learn and reading what its file asks for
(tests/models/test_trusted.py does so for every estimator there is, and fails when one asks for more), and then
read: a type's constructor and __setstate__ copy arrays, numbers and audited parts, and a function computes on
arrays; none opens, imports or runs what the file names. skops trusts the estimators themselves.

Some hold indices that compiled code follows without looking; skops leaves those out for that reason. They are
here because `soundness.py` looks at every index before a model is used. They are marked with (sound).
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
# Distances that need nothing but the two points, or (Minkowski) weights whose length soundness.py checks.
_DISTANCES = ("BrayCurtis", "Canberra", "Chebyshev", "Euclidean", "Hamming", "Manhattan", "Minkowski")
_KERNELS = (
    "CompoundKernel",
    "ConstantKernel",
    "DotProduct",
    "ExpSineSquared",
    "Exponentiation",
    "Hyperparameter",
    "Matern",
    "PairwiseKernel",
    "Product",
    "RBF",
    "RationalQuadratic",
    "Sum",
    "WhiteKernel",
)
_SPLITTERS = (
    "GroupKFold",
    "GroupShuffleSplit",
    "KFold",
    "LeaveOneGroupOut",
    "LeaveOneOut",
    "PredefinedSplit",
    "RepeatedKFold",
    "RepeatedStratifiedKFold",
    "ShuffleSplit",
    "StratifiedGroupKFold",
    "StratifiedKFold",
    "StratifiedShuffleSplit",
    "TimeSeriesSplit",
)
_SCORES = (
    "_classification.accuracy_score",
    "_classification.balanced_accuracy_score",
    "_classification.brier_score_loss",
    "_classification.d2_brier_score",
    "_classification.d2_log_loss_score",
    "_classification.f1_score",
    "_classification.jaccard_score",
    "_classification.log_loss",
    "_classification.matthews_corrcoef",
    "_classification.precision_score",
    "_classification.recall_score",
    "_ranking.average_precision_score",
    "_ranking.roc_auc_score",
    "_ranking.top_k_accuracy_score",
    "_regression.d2_absolute_error_score",
    "_regression.explained_variance_score",
    "_regression.max_error",
    "_regression.mean_absolute_error",
    "_regression.mean_absolute_percentage_error",
    "_regression.mean_gamma_deviance",
    "_regression.mean_poisson_deviance",
    "_regression.mean_squared_error",
    "_regression.mean_squared_log_error",
    "_regression.median_absolute_error",
    "_regression.r2_score",
    "_regression.root_mean_squared_error",
    "_regression.root_mean_squared_log_error",
    "_scorer.negative_likelihood_ratio",
    "_scorer.positive_likelihood_ratio",
)

TRUSTED = frozenset(
    {
        # Losses and links: a handful of floats each. The `Cy` ones are their compiled halves, whose module some
        # builds of scikit-learn spell without its package.
        *(f"sklearn._loss.loss.{name}" for name in _LOSSES),
        *(f"{module}.Cy{name}" for name in _LOSSES for module in ("sklearn._loss._loss", "_loss")),
        *(f"sklearn._loss.link.{name}" for name in _LINKS),
        # Trees: arrays of nodes (sound).
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        # Neighbours: the training rows sorted into a tree (sound), and the distance between two rows.
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neighbors._kd_tree.KDTree64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._ball_tree.BallTree64",
        *(f"sklearn.metrics._dist_metrics.{name}Distance{bits}" for name in _DISTANCES for bits in ("", "32", "64")),
        # Sparse matrices (sound): SciPy reads them without pickle and checks their shape only.
        "scipy.sparse._csr.csr_matrix",
        "scipy.sparse._csr.csr_array",
        "scipy.sparse._csc.csc_matrix",
        "scipy.sparse._csc.csc_array",
        # Splines: knots and coefficients (sound), and how SciPy turns what it is given into an array.
        "scipy.interpolate._bsplines.BSpline",
        "scipy._lib.array_api_compat.numpy._aliases.asarray",
        # Preprocessing and pipelines: lists of columns, patterns of column names, kinds of numbers.
        "sklearn.compose._column_transformer._RemainderColsList",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.utils._bunch.Bunch",
        "numpy.dtype",
        "numpy.mean",
        "sklearn.utils.validation.check_array",
        # A function with some arguments filled in; the function itself is asked about under its own name.
        "functools.partial",
        # Scores by which features are chosen.
        "sklearn.feature_selection._mutual_info.mutual_info_classif",
        "sklearn.feature_selection._mutual_info.mutual_info_regression",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.feature_selection._univariate_selection.r_regression",
        # Parts of fitted models: coefficients and arrays.
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.cluster._bisect_k_means._BisectingTree",
        "sklearn.cluster._kmeans._kmeans_single_elkan",
        "sklearn.cluster._kmeans._kmeans_single_lloyd",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS),
        "sklearn.multiclass._ConstantPredictor",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        # Searches over parameters keep how they split and scored.
        *(f"sklearn.model_selection._split.{name}" for name in _SPLITTERS),
        *(f"sklearn.metrics.{name}" for name in _SCORES),
        "sklearn.metrics._scorer._CurveScorer",
        "sklearn.model_selection._classification_threshold._CurveScorer",  # where 1.5 has it
        "sklearn.metrics._scorer._MultimetricScorer",
        "sklearn.metrics._scorer._PassthroughScorer",
        "sklearn.metrics._scorer._Scorer",
        "sklearn.utils._metadata_requests.MetadataRequest",
        "sklearn.utils._metadata_requests.MethodMetadataRequest",
    }
)
