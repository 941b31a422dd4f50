"""What each kind of dropout is, in words: its equation, who published it, who implements it how, and what went wrong.

One entry for each row of `rnndrop.dropout.rule.KINDS`, whose `about` it is; `scripts/kind_pages.py` makes the pages of
docs/kinds of them. `project#number` names an issue or pull request of a project in `PROJECTS`.
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
            "A rate of 0 should cost nothing and change nothing: here such a rule draws no random number, so that the"
            " masks of the other locations are the same with it and without it.",
        ),
        aliases=("baseline", "non-regularised"),
    ),
    "naive": About(
        summary=(
            "Fresh, independent noise on every feature at every step: the dropout of feed-forward networks. Between"
            " layers it works. On `recurrent` the noise of every step adds up along the sequence; on 100,000 tokens"
            " it was no worse for that than one mask a sequence."
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
            "`torch.nn.LSTM(dropout=p)` is `naive` on `hidden` alone: after each layer except the last, nothing on the"
            " input, on the output or inside the recurrence.",
            "`dropout=naive` is on `recurrent` too, and the gates share its masks. The naive LSTM and GRU of Gal's fork"
            " of Keras, read in a copy, draw one for each gate (`varies=[time,batch,gate,feature]`), leave it unscaled"
            " in training, and multiply by the keep rate at evaluation; what else differs is in"
            " [the guide](../guide/sentiment.md#how-this-differs-from-the-paper).",
            "A cell stepped by hand must be told where a sequence starts. Keras' LSTMCell redrew its mask at every"
            " call, which turns `locked` into `naive` (tensorflow#38922), or, told nothing, used the mask of the"
            " batch before (tensorflow#35654).",
            "A wrapper that puts dropout on the cell's *state* can also hit c: TensorFlow's did until c was left out"
            " (tensorflow#11650), and again in 2.0, where it is refused by now (tensorflow#33690). Here `recurrent`"
            " never touches c; for the memory there is the location `cell`.",
        ),
        aliases=("standard dropout", "per-step dropout"),
    ),
    "locked": About(
        summary=(
            "One mask for each sequence, held fixed over its time steps. A dropped unit is gone for the whole window;"
            " a kept one is kept at every step, so that its memory is not cut."
        ),
        equation="m[b,j] ~ Bernoulli(1−p)/(1−p)\nx̃[t,b,j] = m[b,j] · x[t,b,j]        the same m at every t",
        published=(
            f"{GAL}: on `input`, `hidden`, `recurrent` and `output`, as *tied weights*: one mask for all gates."
            " The name speaks of tied masks; the weights are ordinary ones",
            f"{MERITY}: LockedDropout on `input`, `hidden` and `output`",
            f"{MOON}: on `cell`, c = m ⊙ (f ⊙ c′ + i ⊙ g) with one mask for a sequence",
            f"{SEMENIUTA}: on `update`, the form that samples a mask for a sequence",
        ),
        implementations=(
            "awd-lstm-lm's LockedDropout wants time first and draws (1, B, D). On batch-first input the same code ties"
            " the mask over the batch instead, `varies=[time,feature]`, and no error is raised: PyTorch-NLP#71; the"
            " first release of awd-lstm-lm broadcast along the wrong axis too (awd-lstm-lm#5). Hence our"
            " `LockedDropout(batch_first=…)`, and flair#1077.",
            "Keras' `dropout` holds a mask over the sequence in Keras 3; in Keras 2 a layer that could use cuDNN drew"
            " one for each step, which is `naive` (tensorflow#40215, keras#19993).",
            "The mask must be new in the next window: a nightly of TensorFlow 2.0 reused it (tensorflow#29391), and"
            " cells in an `RNN` layer still in 1.15.0-rc0 (tensorflow#32543).",
            "On `cell` of an LSTM: the mask on c is Moon et al.'s, where its scale acts is our choice. On c, which is"
            " carried, it compounds to (1/(1−p))^t (as on a GRU's h in tensorflow#11650); within the tanh it does not"
            " keep the mean. Here c is unscaled and the scale acts on h, where h is read; see"
            " [the space](../space.md#the-rule-of-cell-and-state). Semeniuta et al.'s code multiplies c by 1−p at every"
            " step of an evaluation instead.",
            "On `recurrent` it costs the fused kernel almost everywhere: tensorflow#38236 reports about 25×;"
            " keras#8935, tensorflow#40944.",
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
            "It needs one product for each gate in place of one for all: the reason why much code that cites the"
            " paper implements `locked`. Gal's speeds for his large model: 1.6K words a second, against 2.4K with"
            " tied masks.",
            "Keras' `recurrent_dropout` on an LSTM or a GRU is this kind by now, whatever `implementation=` says: since"
            " keras#20656 and keras#20663 a rate other than 0 means one mask for each gate. Before, `implementation=1`"
            " drew one for each and `implementation=2` one for all (tensorflow#35724).",
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
            " everywhere is dropping column j of the weights that read it, so that a fused kernel can do it."
        ),
        equation="m[j] ~ Bernoulli(1−p)/(1−p)\nx̃[t,b,j] = m[j] · x[t,b,j]        W (m ⊙ x) = (W diag m) x",
        published=(
            f"{GAL}, section 4: to drop an input is to sample weight matrices that do not read it; one sample for the"
            " whole batch is this kind, one for each sequence is `locked`",
        ),
        implementations=(
            "dynet drew its LSTM's masks once for a minibatch, and changed to once for a sentence, `locked`, in"
            " dynet#812.",
            "Its noise is not averaged over the batch: gradients vary more than with `locked` at the same rate. At"
            " batch size 1 the two are equal.",
        ),
        aliases=("batch-shared dropout",),
    ),
    "token": About(
        summary="Whole vectors of single positions: every feature of one step of one sequence, or none.",
        equation="m[t,b] ~ Bernoulli(1−p)/(1−p)\nx̃[t,b,j] = m[t,b] · x[t,b,j]",
        published=(
            "Iyyer, Manjunatha, Boyd-Graber & Daumé III 2015, *Deep Unordered Composition Rivals Syntactic Methods for"
            " Text Classification* (ACL): *word dropout* of single tokens, there left out of an average",
            "Bowman et al. 2016, *Generating Sentences from a Continuous Space*, arXiv:1511.06349: *word dropout* of"
            " the decoder's inputs, there replaced by the unknown word",
        ),
        implementations=(
            "Implementations differ in what they put into the hole: zeros, an unknown word, or nothing at all."
            " Here: zeros, and 1/(1−p) on what is kept.",
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
            " sequence, for the whole window. The decoder, where it shares the matrix, does not see the mask."
        ),
        equation="m[v] ~ Bernoulli(1−p)/(1−p)\nx[t,b] = m[v] · E[v]        v = the word at t in sequence b",
        published=(f"{MERITY}, section 4.3: embedding dropout, after Gal & Ghahramani",),
        implementations=(
            "awd-lstm-lm's embedded_dropout multiplies a copy of the whole matrix by a mask (V, 1). `max_norm` then"
            " bounds the copy, after scaling, instead of the embedding; and gradients are no longer sparse. Here the"
            " mask multiplies the vectors that were looked up.",
            "It drops whole words; LockedDropout on the embedded sequence (`input`) drops their features. AWD-LSTM does"
            " both, and the question comes up (awd-lstm-lm#45).",
            "Rare words are seldom in a window at all, so that most of the V draws change nothing.",
        ),
        aliases=("dropoute (awd-lstm-lm)", "embedded_dropout", "EmbeddingDropout", "embedding dropout"),
    ),
    "word_per_sequence": About(
        summary=(
            "As `word`, with a draw for each sequence: a word dropped from a sequence is dropped at each of its"
            " occurrences there, and may be kept in the next sequence of the batch."
        ),
        equation="m[b,v] ~ Bernoulli(1−p)/(1−p)\nx[t,b] = m[b,v] · E[v]        v = the word at t in sequence b",
        published=(f"{GAL}, section 4.2: word embeddings dropout",),
        implementations=(
            "BayesianRNN first compared the words of the whole batch at two times instead of those of one sequence, so"
            " that every word had a draw of its own, as its README says: the kind `token`. The large untied model after"
            " the fix: 77.5 valid, 75.1 test, from 77.9 and 75.2 (BayesianRNN#4).",
            "The Monte-Carlo evaluation of its language model leaves embedding dropout off; so does ours unless"
            " `evaluation.mc.embedding=true`. That of its sentiment experiment draws it.",
            "Keras 1's `Embedding(dropout=p)`, which Gal brought there (keras#1770), draws once for the whole batch:"
            " that is `word`.",
        ),
        aliases=("embedding dropout (Gal)", "word type dropout"),
    ),
    "dropconnect": About(
        summary=(
            "Single weights instead of activations. The weight matrix with its holes is the same at every step and for"
            " every sequence, so that the recurrence runs on a fused kernel."
        ),
        equation="m[k,i,j] ~ Bernoulli(1−p)/(1−p)        gate k, from input j to unit i\nW̃ = m ⊙ W",
        published=(f"{WAN}: on feed-forward weights", f"{MERITY}, section 2: on `weight_hh`, the weight-dropped LSTM"),
        implementations=(
            "Wan et al. evaluate with samples of a Gaussian that matches the moments of a unit's input; AWD-LSTM,"
            " and we, with the mean weight.",
            "awd-lstm-lm's WeightDrop replaces Parameters by `setattr` and stubs `flatten_parameters`. It broke with"
            " PyTorch 1.0 (awd-lstm-lm#86) and 1.4 (pytorch#32346, awd-lstm-lm#119), fails after an evaluation with"
            " *cannot assign FloatTensor as parameter* (awd-lstm-lm#79, awd-lstm-lm#114, awd-lstm-lm#117), changes the"
            " keys of the state_dict (awd-lstm-lm#99), and loses cuDNN's single buffer (pytorch#40193).",
            "fastai's left the raw weight without a gradient (fastai#2591; mended in version 2).",
            "Better_LSTM_PyTorch masks in place: what is dropped once stays dropped, what is kept is multiplied by"
            " 1/(1−p) again each time (Better_LSTM_PyTorch#7).",
            "`rnndrop.WeightDrop` calls the module with masked copies (`torch.func.functional_call`); its tests follow"
            " this list.",
        ),
        aliases=("weight drop", "wdrop (awd-lstm-lm)", "weight-dropped LSTM", "WeightDrop(variational=False)"),
    ),
    "weight_rows": About(
        summary=(
            "Whole rows of a weight: one gate of one unit loses everything that this matrix brings it and keeps its"
            " bias. Not a mask on h(t−1): that would be `weight_columns`."
        ),
        equation="m[k,i] ~ Bernoulli(1−p)/(1−p)        gate k of unit i\nW̃[k,i,·] = m[k,i] · W[k,i,·]",
        published=("the option `variational=True` of awd-lstm-lm's WeightDrop, off by default; in no paper as it is",),
        implementations=(
            "The mask is drawn with `F.dropout(ones(W.size(0), 1), training=True)`: hard-coded, so that it is drawn at"
            " evaluation too (awd-lstm-lm#72), and in many copies of the code. Here evaluation draws nothing.",
            "In copies of the code a comment calls it *variational dropout (as proposed by Gal & Ghahramani)*. Their"
            " masks remove inputs, columns of torch's (out, in), and differ between the sequences of a batch.",
            "On `weight_hh` of an LSTM (4H, H) a row is one gate of one unit. Around a Linear whose weights, bias and"
            " three inputs are 1, at p = .3: 3/.7 + 1 = 5.2857 where the row is kept, the bias 1 where it is dropped"
            " ([the notebook](../explore_dropout.ipynb)).",
        ),
        aliases=("WeightDrop(variational=True)", 'WeightDrop(variational=True, axis="out")'),
    ),
    "weight_columns": About(
        summary=(
            "Whole columns of a weight, in all gates at once: an input is removed for the window. It equals `shared` on"
            " the activation that the weight reads, with the same mask."
        ),
        equation="m[j] ~ Bernoulli(1−p)/(1−p)\nW̃[k,i,j] = m[j] · W[k,i,j]        (W diag m) x = W (m ⊙ x)",
        published=(
            f"{GAL}, section 4: dropout as noise on the weights; here one sample for the whole batch",
            "what WeightDrop(variational=True) is usually meant to be",
        ),
        implementations=(
            "The masked weight goes into the fused kernel, where a mask on h(t−1) cannot: the cheap way to drop a"
            " recurrent input, at the price of one mask for the batch.",
        ),
        aliases=('WeightDrop(variational=True, axis="in")',),
    ),
    "zoneout": About(
        summary=(
            "Each unit of a memory either takes its new value or, with probability p, keeps the one of the step"
            " before. Nothing is zeroed and nothing scaled, and information and gradients pass through the held units"
            " unchanged."
        ),
        equation=(
            "d[t,b,j] ~ Bernoulli(p)        one d for c, another for h\n"
            "on cell:   c = d ⊙ c′ + (1−d) ⊙ (f ⊙ c′ + i ⊙ g)\n"
            "on state:  h = d ⊙ h′ + (1−d) ⊙ o ⊙ tanh(f ⊙ c′ + i ⊙ g)\n"
            "evaluation: p in place of d"
        ),
        published=(
            f"{KRUEGER}: z_c = .5 on `cell` and z_h = .05 on `state` for the characters of the Penn Treebank; for its"
            " words, section 4.1.2, z_c = .25 and z_h = .025 added to Zaremba's dropout (81.4 / 77.4). Alone it is not"
            " competitive on words",
        ),
        implementations=(
            "h is computed from the candidate c, not from the held one (section 3.2 of the paper): so here.",
            "The authors' scripts take 1 − z, the probability of an update, as their README says.",
            "A framework's dropout scales by 1/(1−p), which zoneout must not: the authors' TensorFlow code"
            " multiplies by (1−p) to undo it (zoneout#7); the same trap in the review of mxnet#5567.",
            "An output that is not the zoned h: returnn returned the plain h and carried the zoned one until"
            " returnn#1313; so do haste's wrapper for TensorFlow and the authors' TensorFlow code (zoneout#6), unlike"
            " their Theano code and the paper. mxnet's ZoneoutCell draws another mask for the output (mxnet#18669).",
            "haste zones h alone (haste#29); at evaluation it takes the expectation (haste#18), as the paper does.",
        ),
        aliases=("z_c (on `cell`)", "z_h (on `state`)"),
    ),
    "unk": About(
        summary=(
            "A word that is read becomes `<unk>`. What is predicted stays, so that the model learns to go on without"
            " having seen the word."
        ),
        equation="d[t,b] ~ Bernoulli(p)\nx̃[t,b] = <unk> where d[t,b] = 1, else x[t,b]        of ids",
        published=(
            "Bowman et al. 2016, *Generating Sentences from a Continuous Space*, arXiv:1511.06349: word dropout,"
            " on what the decoder of a variational autoencoder reads",
        ),
        implementations=(
            "It is not `token` on `input`, which zeroes the vector and scales the others: here the vector of `<unk>` is"
            " read, which is trained by it, and nothing is scaled.",
            "A corpus without `<unk>` is refused: `blank` is the same with a vector of its own.",
        ),
        aliases=("word dropout",),
    ),
    "blank": About(
        summary="A word that is read becomes a blank: no type of the vocabulary, but a vector that the model learns.",
        equation="d[t,b] ~ Bernoulli(p)\nx[t,b] = blank where d[t,b] = 1, else E[v]        v = the word there",
        published=(f"{XIE}: blank noising",),
        implementations=(
            "nlm-noising adds the blank to the vocabulary, where the softmax has to give it a probability; here it is a"
            " parameter beside the embedding, starts at 0, and is never predicted.",
            "`dropout.token.discounted=true` gives each word its own rate, p · N1+(v,·)/c(v): absolute discounting.",
        ),
        aliases=("blank noising",),
    ),
    "unigram": About(
        summary="A word that is read becomes another, drawn by its frequency in the training text.",
        equation="d[t,b] ~ Bernoulli(p)\nx̃[t,b] = z ~ c(z) where d[t,b] = 1, else x[t,b]",
        published=(f"{XIE}: unigram noising, which they derive from interpolated n-gram models",),
        implementations=(
            "The draw may be the word itself, so that less than a share p is another one.",
            "Kong et al. 2019 read it as noise on the embedding of a Bayesian network and draw it once for each type of"
            " a sequence: `varies=[batch,type] fill=unigram`. At prediction they take the mean of the mixture; here the"
            " embedding is read as it is.",
        ),
        aliases=("unigram noising",),
    ),
    "kn": About(
        summary=(
            "A word that is read becomes another, drawn by how many types go before it, and the more readily the more"
            " types follow it; the word to be predicted is replaced with it, by a draw of its own."
        ),
        equation=(
            "γ(v) = p · N1+(v,·) / c(v)\nd[t,b] ~ Bernoulli(γ(x[t,b]))\n"
            "x̃[t,b] = z, ỹ[t,b] = z′ where d[t,b] = 1;        z, z′ ~ N1+(·,z)"
        ),
        published=(f"{XIE}: bigram Kneser-Ney noising, the best of theirs",),
        implementations=(
            "nlm-noising draws the target anew too (`noise_batch`), as the paper says of this scheme alone; the"
            " perplexity of training is then that of noised targets.",
            "N1+ are counted on the training text that is used: with `data.train_tokens` on its beginning.",
        ),
        aliases=("bigram Kneser-Ney noising",),
    ),
    "sampled": About(
        summary=(
            "A word that is read becomes what the model itself predicts there, so that in training it meets what it"
            " will meet when it generates."
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
            "Here it is one pass, without gradient and without dropout, that reads the text as it is: a sample does not"
            " yet follow from the samples before it, as it does word by word. It costs a forward pass.",
        ),
        aliases=("scheduled sampling",),
    ),
    "reset": About(
        summary="The memory that a sequence brings from the window before is forgotten: it starts anew, from zero.",
        equation="d[b] ~ Bernoulli(p)        once a window\nh[0,b] = c[0,b] = 0 where d[b] = 1, in all layers",
        published=(
            "Melis, Dyer & Blunsom 2018, arXiv:1707.05589, and Melis, Kočiský & Blunsom 2020, arXiv:1909.01792: in"
            " their code's tuned configurations of the Penn Treebank, with p = .01",
        ),
        implementations=(
            "lamb calls it `drop_state_probability`; the code of fraternal dropout resets all sequences of a batch at"
            " once, with .01 too. Nothing is scaled, and an evaluation never resets.",
        ),
        aliases=("drop state",),
    ),
    "layer_drop": About(
        summary="A whole layer is left out of a window: what enters it passes on. Each layer has its own draw.",
        equation="m[l] ~ Bernoulli(1−p)        once a window\ny[l] = m[l] · layer(x) + (1−m[l]) · x",
        published=(
            "Fan, Grave & Joulin 2020, *Reducing Transformer Depth on Demand*, arXiv:1909.11556: of transformers",
            "Huang et al. 2016, *Deep Networks with Stochastic Depth*, arXiv:1603.09382: of residual blocks of images,"
            " one draw for a mini-batch, with a rate that grows with depth",
        ),
        implementations=(
            "Only a layer that is as wide as its input can be left out; others always run. Its memory goes on, as if it"
            " had been read. Evaluation has all layers, without a scale, as LayerDrop's has; stochastic depth's scales"
            " a block by its chance to be there, but a recurrent layer is no residual.",
        ),
        aliases=("LayerDrop", "stochastic depth"),
    ),
    "stochastic_depth": About(
        summary="As `layer_drop`, with a draw for each sequence of the batch.",
        equation="m[l,b] ~ Bernoulli(1−p)\ny[l,b] = m[l,b] · layer(x)[b] + (1−m[l,b]) · x[b]",
        published=(
            "in no paper as it is: later implementations of stochastic depth, as DropPath, draw for each example, Huang"
            " et al. 2016, arXiv:1603.09382, for the mini-batch",
        ),
        implementations=("Here, as in LayerDrop, evaluation has all layers, unscaled.",),
        aliases=("drop path",),
    ),
    "mixout": About(
        summary=(
            "All weights that an input has fall back together to those that training began with, in place of zero: a"
            " pull to the start that leaves the mean weight where it is."
        ),
        equation="m[j] ~ Bernoulli(1−p)/(1−p)\nW̃[k,i,j] = W₀[k,i,j] + m[j] · (W − W₀)[k,i,j]",
        published=(f"{LEE}, for fine-tuning: W₀ are pretrained weights",),
        implementations=(
            "Here W₀ are the initial weights of the seed, drawn again when a run is resumed and kept in no file. With"
            " W₀ = 0 it is `weight_columns`.",
            "bloodwass/mixout draws one value for each input of a matrix, as the paper does. Its forward pass divides"
            " by 1−p and its backward pass does not, so that its gradients are 1−p times those of its loss.",
        ),
    ),
    "mixconnect": About(
        summary="As `mixout`, with a draw for each single weight.",
        equation="m ~ Bernoulli(1−p)/(1−p)\nW̃ = W₀ + m ⊙ (W − W₀)",
        published=(f"{LEE}: the form that relates to mixout as DropConnect does to dropout",),
        implementations=("With W₀ = 0 it is `dropconnect`.",),
    ),
}  # fmt: skip
