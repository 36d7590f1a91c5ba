"""Recurrent networks - RNN, LSTM, GRU - as transformers models: `architecture: lstm` is used like any other.

Importing this file makes them known to transformers' auto classes, so that a saved one loads by `AutoModel...`.
Knows no training and no data. The layers are torch's own (cuDNN on a GPU): there is no loop over time here.
"""

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import (
    BaseModelOutput,
    CausalLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)

# Shapes: B batch, T time, E embedding_size, H hidden_size (of all directions), V vocab_size.


@strict
class RecurrentConfig(PreTrainedConfig):
    """What rnn, lstm and gru have in common."""

    attribute_map = {"num_hidden_layers": "num_layers"}

    vocab_size: int = 4096
    embedding_size: int = 256
    hidden_size: int = 256
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float | int = 0.1
    embedding_dropout: float | int = 0.1
    initializer_range: float = 0.1
    tie_word_embeddings: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None


class RNNConfig(RecurrentConfig):
    """Elman's network with tanh."""

    model_type = "rnn"


class LSTMConfig(RecurrentConfig):
    """Long short-term memory."""

    model_type = "lstm"


class GRUConfig(RecurrentConfig):
    """Gated recurrent units."""

    model_type = "gru"


CELLS: dict[str, type[nn.RNNBase]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class RecurrentPreTrainedModel(PreTrainedModel):
    """Weights as they are drawn, and what transformers must know."""

    config_class = RecurrentConfig
    base_model_prefix = "body"
    supports_gradient_checkpointing = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if not isinstance(module, nn.RNNBase):
            super()._init_weights(module)
            return
        for name, weight in module.named_parameters():
            # Rows of all gates lie below each other; each gate is a matrix of its own.
            gates = weight.chunk(weight.shape[0] // module.hidden_size)
            is_new = not getattr(weight, "_is_hf_initialized", False)
            for number, gate in enumerate(gates if is_new else ()):
                if name.startswith("weight_hh"):
                    nn.init.orthogonal_(gate)
                elif name.startswith("weight_ih"):
                    nn.init.xavier_uniform_(gate)
                else:
                    # An LSTM that forgets nothing at first learns long dependencies sooner (Jozefowicz et al. 2015).
                    is_forget_gate = isinstance(module, nn.LSTM) and name.startswith("bias_ih") and number == 1
                    nn.init.constant_(gate, 1.0 if is_forget_gate else 0.0)


class RecurrentModel(RecurrentPreTrainedModel):
    """Embeddings and a stack of recurrent layers; gives the top layer's state at each token."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        directions = 2 if config.bidirectional else 1
        cell = CELLS[config.model_type]
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        # Layers of their own, not one of `num_layers`: so they can be frozen and given learning rates like the blocks
        # of any model. Each direction has half of the width.
        self.layers = nn.ModuleList(
            cell(
                config.hidden_size if number else config.embedding_size,
                config.hidden_size // directions,
                batch_first=True,
                bidirectional=config.bidirectional,
            )
            for number in range(config.num_layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.embeddings = value

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **_: Any,
    ) -> BaseModelOutput:
        """States of all tokens. Padding stands behind the text; what is given for padded places means nothing."""
        embedded_BTE = self.embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        states = self.embedding_dropout(embedded_BTE)
        lengths = _lengths(attention_mask)
        # Forwards, padding comes after all that counts. Backwards it would come first: there it is left out.
        is_packed = self.config.bidirectional and lengths is not None
        if is_packed:
            states = pack_padded_sequence(states, lengths, batch_first=True, enforce_sorted=False)
        for number, layer in enumerate(self.layers):
            states, _final = layer(states)
            if number < len(self.layers) - 1:
                states = self._dropped(states)
        if is_packed:
            states, _lengths_again = pad_packed_sequence(states, batch_first=True, total_length=embedded_BTE.shape[1])
        return BaseModelOutput(last_hidden_state=self.dropout(states))

    def _dropped(self, states: Any) -> Any:
        if isinstance(states, torch.Tensor):
            return self.dropout(states)
        return states._replace(data=self.dropout(states.data))


class RecurrentForCausalLM(RecurrentPreTrainedModel, GenerationMixin):
    """Predicts each next token. With tied embeddings, the state is first brought to their width."""

    _tied_weights_keys = {"lm_head.weight": "body.embeddings.weight"}

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        if config.bidirectional:
            raise ValueError("a bidirectional language model would see the token that it is to predict")
        self.body = RecurrentModel(config)
        width = config.embedding_size if config.tie_word_embeddings else config.hidden_size
        is_as_wide = width == config.hidden_size
        self.projection = nn.Identity() if is_as_wide else nn.Linear(config.hidden_size, width, bias=False)
        self.lm_head = nn.Linear(width, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        self.lm_head = value

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutput:
        states_BTH = self.body(input_ids, attention_mask, inputs_embeds).last_hidden_state
        logits_BTV = self.lm_head(self.projection(states_BTH))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits_BTV, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutput(loss=loss, logits=logits_BTV)

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> dict[str, Any]:
        """The whole text at each step: states are not kept between steps."""
        return {"input_ids": input_ids, "attention_mask": attention_mask}


class RecurrentForSequenceClassification(RecurrentPreTrainedModel):
    """One label for a text, from the state at its end; in both directions, from both ends."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.body = RecurrentModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        states_BTH = self.body(input_ids, attention_mask, inputs_embeds).last_hidden_state
        logits = self.classifier(self._ends(states_BTH, _lengths(attention_mask)))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config, **kwargs)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _ends(self, states_BTH: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        rows = torch.arange(len(states_BTH), device=states_BTH.device)
        last = -1 if lengths is None else lengths.to(states_BTH.device) - 1
        ends_BH = states_BTH[rows, last]
        if not self.config.bidirectional:
            return ends_BH
        half = self.config.hidden_size // 2
        return torch.cat([ends_BH[:, :half], states_BTH[:, 0, half:]], dim=-1)


class RecurrentForTokenClassification(RecurrentPreTrainedModel):
    """One label for each token."""

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.body = RecurrentModel(config)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        logits = self.classifier(self.body(input_ids, attention_mask, inputs_embeds).last_hidden_state)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config, **kwargs)
        return TokenClassifierOutput(loss=loss, logits=logits)


def _lengths(attention_mask: torch.Tensor | None) -> torch.Tensor | None:
    """Tokens of each text, on the CPU; None when nothing is padded.

    Raises:
        ValueError: padding stands elsewhere than behind the text.
    """
    if attention_mask is None or bool(attention_mask.all()):
        return None
    if bool((attention_mask[:, 1:] > attention_mask[:, :-1]).any()):
        raise ValueError("recurrent models need padding behind the text (`padding_side='right'`)")
    return attention_mask.sum(dim=1).clamp(min=1).cpu()


_HEADS: dict[Any, type[RecurrentPreTrainedModel]] = {
    AutoModel: RecurrentModel,
    AutoModelForCausalLM: RecurrentForCausalLM,
    AutoModelForSequenceClassification: RecurrentForSequenceClassification,
    AutoModelForTokenClassification: RecurrentForTokenClassification,
}


def _register() -> None:
    """Make every type known with every head. Auto classes want a class of its own for each pair."""
    for config_class in (RNNConfig, LSTMConfig, GRUConfig):
        AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
        for auto_class, general in _HEADS.items():
            name = general.__name__.replace("Recurrent", config_class.model_type.upper())
            fields = {"config_class": config_class, "__module__": __name__, "__doc__": general.__doc__}
            globals()[name] = model_class = type(name, (general,), fields)
            auto_class.register(config_class, model_class, exist_ok=True)


_register()
