"""What each kind of dropout is, in words: its equation, who published it, who implements it how, and what went wrong.

One entry for each row of `rnndrop.dropout.rule.KINDS`, as its `about`; `scripts/kind_pages.py` makes the pages of
docs/kinds from them. `project#number` names an issue or pull request of a project in `PROJECTS`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class About:
    """The prose of one kind. What follows from the rule itself (shapes, times of drawing, evaluation) is not here.

    `equation` is plain text: t time, b sequence of the batch, k gate, j feature, v word type; x the activation at the
    location, W a weight, m the mask. Markdown elsewhere.
    """

    summary: str
    equation: str
    published: tuple[str, ...]
    implementations: tuple[str, ...]
    aliases: tuple[str, ...] = ()


PROJECTS = {
    "Better_LSTM_PyTorch": "keitakurita/Better_LSTM_PyTorch",
    "BayesianRNN": "yaringal/BayesianRNN",
    "PyTorch-NLP": "PetrochukM/PyTorch-NLP",
    "awd-lstm-lm": "salesforce/awd-lstm-lm",
    "dynet": "clab/dynet",
    "fastai": "fastai/fastai",
    "flair": "flairNLP/flair",
    "haste": "lmnt-com/haste",
    "keras": "keras-team/keras",
    "mxnet": "apache/mxnet",
    "pytorch": "pytorch/pytorch",
    "returnn": "rwth-i6/returnn",
    "tensorflow": "tensorflow/tensorflow",
    "zoneout": "teganmaharaj/zoneout",
}

ZAREMBA = "Zaremba, Sutskever & Vinyals 2014, *Recurrent Neural Network Regularization*, arXiv:1409.2329"
GAL = (
    "Gal & Ghahramani 2016, *A Theoretically Grounded Application of Dropout in Recurrent Neural Networks*, "
    "arXiv:1512.05287"
)
MERITY = "Merity, Keskar & Socher 2018, *Regularizing and Optimizing LSTM Language Models*, arXiv:1708.02182"
MOON = "Moon, Choi, Lee & Song 2015, *RNNDROP: A Novel Dropout for RNNs in ASR* (ASRU)"
SEMENIUTA = "Semeniuta, Severyn & Barth 2016, *Recurrent Dropout without Memory Loss*, arXiv:1603.05118"
WAN = "Wan, Zeiler, Zhang, LeCun & Fergus 2013, *Regularization of Neural Networks using DropConnect* (ICML)"
KRUEGER = (
    "Krueger et al. 2017, *Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations*, arXiv:1606.01305"
)

XIE = "Xie et al. 2017, *Data Noising as Smoothing in Neural Network Language Models*, arXiv:1703.02573"

LEE = (
    "Lee, Cho & Kang 2020, *Mixout: Effective Regularization to Finetune Large-scale Pretrained Language Models*,"
    " arXiv:1909.11299"
)

ABOUT = {
    "none": About(
        summary="No noise. Every other kind at p = 0 equals this one, bit for bit.",
        equation="x̃ = x",
        published=(f"{ZAREMBA}: the small model, non-regularised, with early stopping",),
        implementations=(
            "A rate of 0 should cost nothing and change nothing. Here such a rule draws no random number, so the masks"
            " of the other locations are the same with and without it.",
        ),
        aliases=("baseline", "non-regularised"),
    ),
    "naive": About(
        summary=(
            "Fresh, independent noise on every feature at every step: the dropout of feed-forward networks. Between"
            " layers it works. On `recurrent` the noise of every step adds up along the sequence, but on 100,000 tokens"
            " it was no worse than one mask per sequence."
        ),
        equation="m[t,b,j] ~ Bernoulli(1−p)/(1−p)\nx̃[t,b,j] = m[t,b,j] · x[t,b,j]",
        published=(
            f"{ZAREMBA}: on the non-recurrent connections alone (`input`, `hidden`, `output`)",
            f"{SEMENIUTA}: on `update`, the form that samples a mask at each step",
            f"{GAL}: the baseline. On words it is on the non-recurrent connections alone, which is `dropout=zaremba`"
            " (BayesianRNN, LM_code/main_naive_dropout.lua); in the sentiment experiment it is on `recurrent` too, with"
            " a mask for each gate",
        ),
        implementations=(
            "`torch.nn.LSTM(dropout=p)` is `naive` on `hidden` alone: after each layer except the last, and not on the"
            " input, on the output or inside the recurrence.",
            "`dropout=naive` is on `recurrent` too, and the gates share its masks. The naive LSTM and GRU of Gal's fork"
            " of Keras (we read a copy) draw a mask for each gate (`varies=[time,batch,gate,feature]`), do not scale it"
            " in training, and multiply by the keep rate at evaluation. The other differences are in"
            " [the guide](../guide/sentiment.md#how-this-differs-from-the-paper).",
            "A cell stepped by hand must be told where a sequence starts. Keras' LSTMCell redrew its mask at every"
            " call, which turns `locked` into `naive` (tensorflow#38922), or, when it was not told, used the mask of"
            " the previous batch (tensorflow#35654).",
            "A wrapper that puts dropout on the cell's *state* can also hit c: TensorFlow's did until c was left out"
            " (tensorflow#11650), and again in 2.0, where it is now refused (tensorflow#33690). Here `recurrent`"
            " never touches c; the location for the memory is `cell`.",
        ),
        aliases=("standard dropout", "per-step dropout"),
    ),
    "locked": About(
        summary=(
            "One mask for each sequence, held fixed over its time steps. A dropped unit is gone for the whole window;"
            " a kept one is kept at every step, so its memory is not cut."
        ),
        equation="m[b,j] ~ Bernoulli(1−p)/(1−p)\nx̃[t,b,j] = m[b,j] · x[t,b,j]        the same m at every t",
        published=(
            f"{GAL}: on `input`, `hidden`, `recurrent` and `output`, as *tied weights*: one mask for all gates."
            " What is tied is the masks; the weights are ordinary ones",
            f"{MERITY}: LockedDropout on `input`, `hidden` and `output`",
            f"{MOON}: on `cell`, c = m ⊙ (f ⊙ c′ + i ⊙ g) with one mask for a sequence",
            f"{SEMENIUTA}: on `update`, the form that samples a mask for a sequence",
        ),
        implementations=(
            "awd-lstm-lm's LockedDropout expects time first and draws (1, B, D). On batch-first input the same code"
            " shares the mask over the batch instead, `varies=[time,feature]`, and raises no error (PyTorch-NLP#71)."
            " The first release of awd-lstm-lm broadcast along the wrong axis too (awd-lstm-lm#5). Hence our"
            " `LockedDropout(batch_first=…)`, and flair#1077.",
            "Keras' `dropout` holds a mask over the sequence in Keras 3; in Keras 2 a layer that could use cuDNN drew"
            " one for each step, which is `naive` (tensorflow#40215, keras#19993).",
            "The next window needs a new mask: a nightly build of TensorFlow 2.0 reused the old one (tensorflow#29391),"
            " and cells in an `RNN` layer still did in 1.15.0-rc0 (tensorflow#32543).",
            "On `cell` of an LSTM the mask on c is Moon et al.'s; where its scale acts is our choice. A scale on c,"
            " which is carried, compounds to (1/(1−p))^t (as on a GRU's h in tensorflow#11650); inside the tanh it does"
            " not keep the mean. Here c is unscaled, and the scale acts on h where h is read; see"
            " [the space](../space.md#the-rule-of-cell-and-state). Semeniuta et al.'s code instead multiplies c by 1−p"
            " at every step of an evaluation.",
            "On `recurrent` it rules out the fused kernel almost everywhere: tensorflow#38236 reports training about"
            " 25× as long; see also keras#8935, tensorflow#40944.",
            "Keras' SpatialDropout1D on (samples, timesteps, channels) is this kind on an activation.",
        ),
        aliases=(
            "LockedDropout",
            "variational dropout, tied weights",
            "variational RNN dropout",
            "SpatialDropout1D (Keras)",
            "RNNDrop (on `cell`)",
            "VD-LSTM (tied)",
        ),
    ),
    "locked_gates": About(
        summary=(
            "As `locked`, but each gate sees the same vector through a mask of its own: four masks in an LSTM, three"
            " in a GRU. With equal masks for all gates it is `locked`."
        ),
        equation="m[b,k,j] ~ Bernoulli(1−p)/(1−p)\ngate k of step t: W[k] · (m[b,k] ⊙ x[t,b])",
        published=(f"{GAL}: *untied weights*, on `input`, `hidden` and `recurrent`",),
        implementations=(
            "It needs one product for each gate instead of one for all, which is why much code that cites the paper"
            " implements `locked`. Gal's speeds for his large model: 1.6K words per second, against 2.4K with tied"
            " masks.",
            "Keras' `recurrent_dropout` on an LSTM or a GRU is now this kind, whatever `implementation=` says: since"
            " keras#20656 and keras#20663 a rate other than 0 means one mask for each gate. Before that,"
            " `implementation=1` drew one for each gate and `implementation=2` one for all (tensorflow#35724).",
        ),
        aliases=(
            "variational dropout, untied weights",
            "VD-LSTM (untied)",
            "recurrent_dropout (Keras)",
            "implementation=1 (Keras)",
        ),
    ),
    "shared": About(
        summary=(
            "One mask over the features for the whole batch and the whole window. Dropping feature j of an activation"
            " everywhere is the same as dropping column j of the weights that read it, so a fused kernel can do it."
        ),
        equation="m[j] ~ Bernoulli(1−p)/(1−p)\nx̃[t,b,j] = m[j] · x[t,b,j]        W (m ⊙ x) = (W diag m) x",
        published=(
            f"{GAL}, section 4: to drop an input is to sample weight matrices that do not read it; one sample for the"
            " whole batch is this kind, one for each sequence is `locked`",
        ),
        implementations=(
            "dynet drew its LSTM's masks once per minibatch, and changed to once per sentence, which is `locked`, in"
            " dynet#812.",
            "Its noise is not averaged over the batch: gradients vary more than with `locked` at the same rate. At"
            " batch size 1 the two are equal.",
        ),
        aliases=("batch-shared dropout",),
    ),
    "token": About(
        summary="Whole vectors at single positions: all features of one step of one sequence are dropped, or none.",
        equation="m[t,b] ~ Bernoulli(1−p)/(1−p)\nx̃[t,b,j] = m[t,b] · x[t,b,j]",
        published=(
            "Iyyer, Manjunatha, Boyd-Graber & Daumé III 2015, *Deep Unordered Composition Rivals Syntactic Methods for"
            " Text Classification* (ACL): *word dropout* of single tokens, which are left out of an average",
            "Bowman et al. 2016, *Generating Sentences from a Continuous Space*, arXiv:1511.06349: *word dropout* of"
            " the decoder's inputs, which are replaced by the unknown word",
        ),
        implementations=(
            "Implementations differ in what they put into the hole: zeros, an unknown word, or nothing at all."
            " Here: zeros, and what is kept is multiplied by 1/(1−p).",
            "flair's WordDropout multiplies by 0 or 1 without 1/(1−p); before flair#1077 it dropped the same"
            " positions in every sentence of a batch.",
            "`torch.nn.Dropout1d` takes the second axis for channels: on (batch, time, feature) it is this kind, not"
            " `locked`.",
        ),
        aliases=("word dropout (of tokens)", "WordDropout (flair)"),
    ),
    "word": About(
        summary=(
            "Rows of the embedding matrix: a dropped word type is dropped wherever it stands in the batch, in every"
            " sequence, for the whole window. If the decoder shares the matrix, it does not see the mask."
        ),
        equation="m[v] ~ Bernoulli(1−p)/(1−p)\nx[t,b] = m[v] · E[v]        v = the word at t in sequence b",
        published=(f"{MERITY}, section 4.3: embedding dropout, after Gal & Ghahramani",),
        implementations=(
            "awd-lstm-lm's embedded_dropout multiplies a copy of the whole matrix by a mask (V, 1). `max_norm` then"
            " bounds the copy, after scaling, instead of the embedding; and gradients are no longer sparse. Here the"
            " mask multiplies the vectors that were looked up.",
            "It drops whole words; LockedDropout on the embedded sequence (`input`) drops their features. AWD-LSTM does"
            " both (a question in awd-lstm-lm#45).",
            "Rare words seldom occur in a window, so most of the V draws change nothing.",
        ),
        aliases=("dropoute (awd-lstm-lm)", "embedded_dropout", "EmbeddingDropout", "embedding dropout"),
    ),
    "word_per_sequence": About(
        summary=(
            "Like `word`, but with a draw for each sequence: a word dropped from a sequence is dropped wherever it"
            " occurs there, and may be kept in the next sequence of the batch."
        ),
        equation="m[b,v] ~ Bernoulli(1−p)/(1−p)\nx[t,b] = m[b,v] · E[v]        v = the word at t in sequence b",
        published=(f"{GAL}, section 4.2: word embeddings dropout",),
        implementations=(
            "At first BayesianRNN compared the words of the whole batch at two times instead of those of one sequence."
            " So every word had a draw of its own, as its README says: the kind `token`. With the fix, the large untied"
            " model went from 77.9 valid and 75.2 test to 77.5 and 75.1 (BayesianRNN#4).",
            "The Monte-Carlo evaluation of BayesianRNN's language model leaves embedding dropout off; so does ours"
            " unless `evaluation.mc.embedding=true`. That of its sentiment experiment draws embedding dropout.",
            "Keras 1's `Embedding(dropout=p)`, which Gal contributed (keras#1770), draws once for the whole batch:"
            " that is `word`.",
        ),
        aliases=("embedding dropout (Gal)", "word type dropout"),
    ),
    "dropconnect": About(
        summary=(
            "Single weights are dropped instead of activations. The weight matrix with its holes is the same at every"
            " step and for every sequence, so the recurrence runs on a fused kernel."
        ),
        equation="m[k,i,j] ~ Bernoulli(1−p)/(1−p)        gate k, from input j to unit i\nW̃ = m ⊙ W",
        published=(f"{WAN}: on feed-forward weights", f"{MERITY}, section 2: on `weight_hh`, the weight-dropped LSTM"),
        implementations=(
            "Wan et al. evaluate with samples of a Gaussian that matches the moments of a unit's input; AWD-LSTM"
            " and rnndrop use the mean weight.",
            "awd-lstm-lm's WeightDrop replaces Parameters with `setattr` and stubs `flatten_parameters`. It broke with"
            " PyTorch 1.0 (awd-lstm-lm#86) and 1.4 (pytorch#32346, awd-lstm-lm#119), fails after an evaluation with"
            " *cannot assign FloatTensor as parameter* (awd-lstm-lm#79, awd-lstm-lm#114, awd-lstm-lm#117), changes the"
            " keys of the state_dict (awd-lstm-lm#99), and loses cuDNN's single buffer (pytorch#40193).",
            "fastai's left the raw weight without a gradient (fastai#2591; fixed in version 2).",
            "Better_LSTM_PyTorch masks in place: what is dropped once stays dropped, and what is kept is multiplied by"
            " 1/(1−p) again each time (Better_LSTM_PyTorch#7).",
            "`rnndrop.WeightDrop` calls the module with masked copies (`torch.func.functional_call`); its tests follow"
            " this list.",
        ),
        aliases=("weight drop", "wdrop (awd-lstm-lm)", "weight-dropped LSTM", "WeightDrop(variational=False)"),
    ),
    "weight_rows": About(
        summary=(
            "Whole rows of a weight matrix: one gate of one unit loses everything that this matrix brings it, but keeps"
            " its bias. It is not a mask on h(t−1): that would be `weight_columns`."
        ),
        equation="m[k,i] ~ Bernoulli(1−p)/(1−p)        gate k of unit i\nW̃[k,i,·] = m[k,i] · W[k,i,·]",
        published=(
            "the option `variational=True` of awd-lstm-lm's WeightDrop, off by default; in no paper in this form",
        ),
        implementations=(
            "The mask is drawn with `F.dropout(ones(W.size(0), 1), training=True)`. `training=True` is hard-coded, so"
            " the mask is drawn at evaluation too (awd-lstm-lm#72), as in many copies of the code. Here evaluation"
            " draws nothing.",
            "In copies of the code a comment calls it *variational dropout (as proposed by Gal & Ghahramani)*. The"
            " masks of that paper remove inputs, which are columns of torch's (out, in), and differ between the"
            " sequences of a batch.",
            "On `weight_hh` of an LSTM (4H, H) a row is one gate of one unit. Around a Linear whose weights, bias and"
            " three inputs are all 1, at p = .3, the output is 3/.7 + 1 = 5.2857 where the row is kept, and the bias,"
            " 1, where it is dropped ([the notebook](../explore_dropout.ipynb)).",
        ),
        aliases=("WeightDrop(variational=True)", 'WeightDrop(variational=True, axis="out")'),
    ),
    "weight_columns": About(
        summary=(
            "Whole columns of a weight matrix, in all gates at once: an input is removed for the window. With the same"
            " mask it equals `shared` on the activation that the weight reads."
        ),
        equation="m[j] ~ Bernoulli(1−p)/(1−p)\nW̃[k,i,j] = m[j] · W[k,i,j]        (W diag m) x = W (m ⊙ x)",
        published=(
            f"{GAL}, section 4: dropout as noise on the weights; here one sample for the whole batch",
            "what WeightDrop(variational=True) is usually meant to be",
        ),
        implementations=(
            "The fused kernel can take the masked weight, but not a mask on h(t−1): this is the cheap way to drop a"
            " recurrent input, at the price of one mask for the batch.",
        ),
        aliases=('WeightDrop(variational=True, axis="in")',),
    ),
    "zoneout": About(
        summary=(
            "With probability p, each unit of a memory keeps its value of the step before; otherwise it takes the new"
            " one. Nothing is zeroed or scaled, and information and gradients pass through the held units unchanged."
        ),
        equation=(
            "d[t,b,j] ~ Bernoulli(p)        one d for c, another for h\n"
            "on cell:   c = d ⊙ c′ + (1−d) ⊙ (f ⊙ c′ + i ⊙ g)\n"
            "on state:  h = d ⊙ h′ + (1−d) ⊙ o ⊙ tanh(f ⊙ c′ + i ⊙ g)\n"
            "evaluation: p in place of d"
        ),
        published=(
            f"{KRUEGER}: z_c = .5 on `cell` and z_h = .05 on `state` for the characters of the Penn Treebank; for its"
            " words (section 4.1.2) z_c = .25 and z_h = .025, added to Zaremba's dropout (81.4 / 77.4). Alone it is not"
            " competitive on words",
        ),
        implementations=(
            "As in section 3.2 of the paper, h is computed from the candidate c, not from the held one.",
            "The authors' scripts take 1 − z, the probability of an update, as their README says.",
            "A framework's dropout scales by 1/(1−p), which zoneout must not do. The authors' TensorFlow code"
            " multiplies by (1−p) to undo it (zoneout#7); the same trap came up in the review of mxnet#5567.",
            "In some implementations the output is not the zoned h. returnn returned the plain h and carried the zoned"
            " one until returnn#1313; haste's wrapper for TensorFlow and the authors' TensorFlow code"
            " (zoneout#6) do the same, unlike the authors' Theano code and the paper. mxnet's ZoneoutCell draws another"
            " mask for the output (mxnet#18669).",
            "haste zones only h (haste#29); at evaluation it takes the expectation (haste#18), as the paper does.",
        ),
        aliases=("z_c (on `cell`)", "z_h (on `state`)"),
    ),
    "unk": About(
        summary=(
            "An input word is replaced by `<unk>`. The word to be predicted stays, so the model learns to go on without"
            " having seen the input word."
        ),
        equation="d[t,b] ~ Bernoulli(p)\nx̃[t,b] = <unk> where d[t,b] = 1, else x[t,b]        of ids",
        published=(
            "Bowman et al. 2016, *Generating Sentences from a Continuous Space*, arXiv:1511.06349: word dropout,"
            " on what the decoder of a variational autoencoder reads",
        ),
        implementations=(
            "It differs from `token` on `input`, which zeroes the vector and scales the others. Here the model reads,"
            " and so trains, the vector of `<unk>`, and nothing is scaled.",
            "A corpus without `<unk>` is refused: `blank` is the same with a vector of its own.",
        ),
        aliases=("word dropout",),
    ),
    "blank": About(
        summary="An input word is replaced by a blank: not a word type, but a vector that the model learns.",
        equation="d[t,b] ~ Bernoulli(p)\nx[t,b] = blank where d[t,b] = 1, else E[v]        v = the word there",
        published=(f"{XIE}: blank noising",),
        implementations=(
            "nlm-noising adds the blank to the vocabulary, so the softmax has to give it a probability. Here it is a"
            " parameter beside the embedding, which starts at 0 and is never predicted.",
            "`dropout.token.discounted=true` gives each word its own rate, p · N1+(v,·)/c(v): absolute discounting.",
        ),
        aliases=("blank noising",),
    ),
    "unigram": About(
        summary="An input word is replaced by a word drawn by its frequency in the training text.",
        equation="d[t,b] ~ Bernoulli(p)\nx̃[t,b] = z ~ c(z) where d[t,b] = 1, else x[t,b]",
        published=(f"{XIE}: unigram noising, which they derive from interpolated n-gram models",),
        implementations=(
            "The draw may be the word itself, so the share of words that change is below p.",
            "Kong et al. 2019 interpret it as noise on the embedding of a Bayesian network and draw it once for each"
            " type of a sequence: `varies=[batch,type] fill=unigram`. At prediction they take the mean of the mixture;"
            " here the embedding is read as it is.",
        ),
        aliases=("unigram noising",),
    ),
    "kn": About(
        summary=(
            "An input word is replaced by a word z, drawn by how many types precede z. The more types follow a word,"
            " the more readily it is replaced. The word to be predicted is then replaced too, by a draw of its own."
        ),
        equation=(
            "γ(v) = p · N1+(v,·) / c(v)\nd[t,b] ~ Bernoulli(γ(x[t,b]))\n"
            "x̃[t,b] = z, ỹ[t,b] = z′ where d[t,b] = 1;        z, z′ ~ N1+(·,z)"
        ),
        published=(f"{XIE}: bigram Kneser-Ney noising, the best of theirs",),
        implementations=(
            "nlm-noising redraws the target too (`noise_batch`), which the paper says of this scheme alone. The"
            " training perplexity is then that of noised targets.",
            "N1+ is counted on the training text that is used: with `data.train_tokens`, on its beginning.",
        ),
        aliases=("bigram Kneser-Ney noising",),
    ),
    "sampled": About(
        summary=(
            "An input word is replaced by a draw from the model's own prediction there, so in training the model meets"
            " what it will meet when it generates."
        ),
        equation=(
            "d[t,b] ~ Bernoulli(p)\nx̃[t,b] = z ~ p(z | x[1..t−1,b]) where d[t,b] = 1, else x[t,b]        from t = 2"
        ),
        published=(
            "Bengio et al. 2015, *Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks*,"
            " arXiv:1506.03099: word by word, at a rate that grows",
            "Duckworth et al. 2019, *Parallel Scheduled Sampling*, arXiv:1906.04331: for all steps at once",
        ),
        implementations=(
            "Here all samples come from one extra forward pass, without gradient and without dropout, that reads the"
            " text as it is. So, unlike word by word, a sample does not follow from the samples before it.",
        ),
        aliases=("scheduled sampling",),
    ),
    "reset": About(
        summary="The memory that a sequence brings from the previous window is forgotten: it starts again from zero.",
        equation="d[b] ~ Bernoulli(p)        once a window\nh[0,b] = c[0,b] = 0 where d[b] = 1, in all layers",
        published=(
            "Melis, Dyer & Blunsom 2018, arXiv:1707.05589, and Melis, Kočiský & Blunsom 2020, arXiv:1909.01792: in the"
            " tuned configurations of their code for the Penn Treebank, with p = .01",
        ),
        implementations=(
            "lamb calls it `drop_state_probability`; the code of fraternal dropout resets all sequences of a batch at"
            " once, also with p = .01. Nothing is scaled, and an evaluation never resets.",
        ),
        aliases=("drop state",),
    ),
    "layer_drop": About(
        summary="A whole layer is left out for a window: its input is passed on instead. Each layer has its own draw.",
        equation="m[l] ~ Bernoulli(1−p)        once a window\ny[l] = m[l] · layer(x) + (1−m[l]) · x",
        published=(
            "Fan, Grave & Joulin 2020, *Reducing Transformer Depth on Demand*, arXiv:1909.11556: for transformers",
            "Huang et al. 2016, *Deep Networks with Stochastic Depth*, arXiv:1603.09382: for residual blocks on images,"
            " with one draw per mini-batch and a rate that grows with depth",
        ),
        implementations=(
            "Only a layer as wide as its input can be left out; others always run. The memory of a layer that is left"
            " out goes on as if the layer were in use. Evaluation has all layers, unscaled, as in LayerDrop."
            " That of stochastic depth scales a block by the chance that it is there, but a recurrent layer is not a"
            " residual block.",
        ),
        aliases=("LayerDrop", "stochastic depth"),
    ),
    "stochastic_depth": About(
        summary="Like `layer_drop`, but with a draw for each sequence of the batch.",
        equation="m[l,b] ~ Bernoulli(1−p)\ny[l,b] = m[l,b] · layer(x)[b] + (1−m[l,b]) · x[b]",
        published=(
            "in no paper in this form: later implementations of stochastic depth, such as DropPath, draw for each"
            " example; Huang et al. 2016, arXiv:1603.09382, draw for the mini-batch",
        ),
        implementations=("Here, as in LayerDrop, evaluation has all layers, unscaled.",),
        aliases=("drop path",),
    ),
    "mixout": About(
        summary=(
            "All weights of an input fall back together to the values that training began with, instead of to zero: a"
            " pull towards the start that leaves the mean weight where it is."
        ),
        equation="m[j] ~ Bernoulli(1−p)/(1−p)\nW̃[k,i,j] = W₀[k,i,j] + m[j] · (W − W₀)[k,i,j]",
        published=(f"{LEE}, for fine-tuning: W₀ are pretrained weights",),
        implementations=(
            "Here W₀ are the initial weights of the seed. No file keeps them: they are drawn again when a run is"
            " resumed. With W₀ = 0 it is `weight_columns`.",
            "bloodwass/mixout draws one value for each input of a matrix, as the paper does. Its forward pass divides"
            " by 1−p and its backward pass does not, so its gradients are 1−p times those of its loss.",
        ),
    ),
    "mixconnect": About(
        summary="Like `mixout`, but with a draw for each single weight.",
        equation="m ~ Bernoulli(1−p)/(1−p)\nW̃ = W₀ + m ⊙ (W − W₀)",
        published=(f"{LEE}: the form that relates to mixout as DropConnect does to dropout",),
        implementations=("With W₀ = 0 it is `dropconnect`.",),
    ),
}  # fmt: skip
