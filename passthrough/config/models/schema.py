"""The schema of `model_list`, `credential_list`, `router_settings`, `litellm_settings` and `ocr` as pydantic models."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, SkipValidation

from ...credentials.identity import ENTRA_SCOPE
from .. import types


class LiteLLMPart(types.Part):
    """A mapping of LiteLLM's; its keys are looked at by `keys` before."""

    model_config = ConfigDict(extra="ignore")


class ConnectionPart(LiteLLMPart):
    """Where a deployment is, and its credential: in an entry, or in a credential that entries share."""

    api_key: types.HeaderValue | None = Field(
        default=None,
        description="The provider's key; for vertex_ai a token that is not renewed; else MISTRAL_API_KEY or AZURE_AI_API_KEY.",
    )
    api_base: types.BaseUrl | None = Field(
        default=None, description="The provider's base URL; else MISTRAL_API_BASE or AZURE_AI_API_BASE."
    )
    api_version: types.ApiVersion | None = Field(default=None, description="azure_ai: the api-version in the query.")
    azure_ad_token: types.HeaderValue | None = Field(default=None, description="azure_ai: a token instead of a key.")
    tenant_id: types.TenantId | None = Field(
        default=None, description="azure_ai: the tenant of an application whose token is fetched; else AZURE_TENANT_ID."
    )
    client_id: types.ClientId | None = Field(default=None, description="azure_ai: the application; else AZURE_CLIENT_ID.")
    client_secret: types.ClientSecret | None = Field(default=None, description="azure_ai: its secret; else AZURE_CLIENT_SECRET.")
    azure_scope: types.EntraScope = Field(
        default=ENTRA_SCOPE, description="azure_ai: what the tokens are for; else AZURE_SCOPE, else Azure AI Foundry."
    )
    vertex_credentials: types.GoogleCredentials | None = Field(
        default=None,
        description="vertex_ai: a credentials file, relative to this file, or its JSON; else VERTEXAI_CREDENTIALS, else "
        "GOOGLE_APPLICATION_CREDENTIALS, else the machine's own.",
    )
    vertex_project: types.VertexProject | None = Field(default=None, description="vertex_ai: the project; else VERTEXAI_PROJECT.")
    vertex_location: types.VertexLocation = Field(
        default="us-central1", description="vertex_ai: a region, global, us or eu; else VERTEXAI_LOCATION."
    )


class ParamsPart(ConnectionPart):
    """What an entry of model_list says of its deployment."""

    model: types.Name = Field(description="mistral/…, azure_ai/… or vertex_ai/…, and the provider's name of the model.")
    custom_llm_provider: types.Word | None = Field(
        default=None, description="The provider, where 'model' does not begin with it."
    )
    litellm_credential_name: types.Word | None = Field(default=None, description="One of credential_list.")
    extra_headers: dict[types.HeaderName, types.HeaderValue] = Field(default={}, description="Set on every request.")
    timeout: types.Limit = Field(default=None, description="For one try; by default that of router_settings.")
    num_retries: types.Attempts | None = Field(default=None, description="Further tries; by default those of router_settings.")
    order: types.Whole = Field(default=1, description="Deployments of the lowest order are chosen first.")
    weight: types.Weight | None = Field(default=None, description="Its share among those of its order; 1 by default.")
    rpm: types.Count | None = Field(default=None, description="Requests per minute, above which another is preferred.")
    tpm: types.Count | None = Field(default=None, description="Tokens per minute, above which another is preferred.")
    max_parallel_requests: types.Count | None = Field(
        default=None, description="Requests at the same time, above which another is preferred."
    )
    base_model: types.Name | None = Field(default=None, description="The model by which it is priced.")
    ocr_cost_per_page: types.Usd | None = Field(default=None, description="US dollars a page, before all lists.")
    annotation_cost_per_page: types.Usd | None = Field(default=None, description="US dollars an annotated page.")
    pages: types.JsonText | None = Field(default=None, description="Which pages, where the request does not say.")
    include_image_base64: types.JsonText | None = Field(default=None, description="Where the request does not say.")
    image_limit: types.JsonText | None = Field(default=None, description="Where the request does not say.")
    image_min_size: types.JsonText | None = Field(default=None, description="Where the request does not say.")
    bbox_annotation_format: types.JsonText | None = Field(default=None, description="Where the request does not say.")
    document_annotation_format: types.JsonText | None = Field(default=None, description="Where the request does not say.")
    document_annotation_prompt: types.JsonText | None = Field(default=None, description="Where the request does not say.")
    table_format: types.JsonText | None = Field(default=None, description="Where the request does not say.")
    extract_header: types.JsonText | None = Field(default=None, description="Where the request does not say.")
    extract_footer: types.JsonText | None = Field(default=None, description="Where the request does not say.")
    confidence_scores_granularity: types.JsonText | None = Field(default=None, description="Where the request does not say.")
    include_blocks: types.JsonText | None = Field(default=None, description="Where the request does not say.")


class InfoPart(LiteLLMPart):
    """What else an entry says."""

    id: types.Name | None = Field(default=None, description="The deployment's name in the log and the ledger; unique.")
    mode: types.Word | None = Field(default=None, description="ocr: the entry is for OCR. Others are not served.")
    base_model: types.Name | None = Field(default=None, description="The model by which it is priced.")
    ocr_cost_per_page: types.Usd | None = Field(default=None, description="US dollars a page, before all lists.")
    annotation_cost_per_page: types.Usd | None = Field(default=None, description="US dollars an annotated page.")


class EntryPart(LiteLLMPart):
    """One deployment of a model: those with the same name are a pool."""

    model_name: types.Name = Field(description="The name that clients send; '*' stands for any text.")
    litellm_params: ParamsPart = Field(description="The deployment.")
    model_info: InfoPart = Field(default=InfoPart(), description="id, mode, base_model, prices.")


class CredentialPart(LiteLLMPart):
    """A credential that entries of model_list name."""

    credential_name: types.Name = Field(description="As litellm_credential_name has it.")
    credential_values: ConnectionPart = Field(default=ConnectionPart(), description="api_key, api_base and the like.")


class AliasPart(LiteLLMPart):
    """Another name of a model."""

    model_config = ConfigDict(extra="forbid")

    model: types.Word = Field(description="The model_name that is meant.")
    hidden: types.Switch = Field(default=False, description="Whether it is left out of the list of models.")


Names = Annotated[list[types.Word], types.OneOrMany()]
Fallbacks = list[dict[str, Names]]


class SharedSettingsPart(LiteLLMPart):
    """Settings that LiteLLM has in router_settings and in litellm_settings; those of router_settings win."""

    num_retries: types.Attempts | None = Field(
        default=None, description="Further tries of a request; by default two, after errors that no provider bills."
    )
    cooldown_time: types.Delay = Field(default=5.0, description="How long a deployment that failed takes no calls.")
    allowed_fails: types.Whole | None = Field(default=None, description="Failures a minute before a deployment cools down.")
    fallbacks: Fallbacks = Field(default=[], description="The models that follow on one: [{a: [b]}]; '*' for any.")
    default_fallbacks: Names = Field(default=[], description="The models that follow on every one without fallbacks.")
    model_group_alias: dict[str, Annotated[AliasPart, types.ShortFor("model")]] = Field(
        default={}, description="Other names of models: {alias: name}, or {alias: {model: name, hidden: true}}."
    )


class RouterPart(SharedSettingsPart):
    """LiteLLM's router_settings."""

    retry_after: types.Delay = Field(default=0.0, description="The least wait before a deployment is tried again.")
    disable_cooldowns: types.Switch = Field(default=False, description="true: no deployment cools down.")
    timeout: types.Limit = Field(default=None, description="For one try, where the entry has none.")
    routing_strategy: types.Word = Field(default="simple-shuffle", description="simple-shuffle or least-busy.")
    optional_pre_call_checks: list[types.Word] = Field(
        default=[], description="enforce_model_rate_limits: refuse where every deployment is at its rpm or tpm."
    )


class LiteLLMSettingsPart(SharedSettingsPart):
    """LiteLLM's litellm_settings, as far as they mean something for OCR."""

    enable_azure_ad_token_refresh: types.Switch = Field(
        default=False, description="true: azure_ai without any credential goes by the machine's own (managed) identity."
    )
    request_timeout: types.Limit = Field(default=None, description="For all tries of a request together.")
    user_url_validation: types.Switch = Field(
        default=True, description="Fetch documents from public addresses only; false: from any."
    )
    user_url_allowed_hosts: Names = Field(default=[], description="Hosts (or host:port) that may have any address.")


class OcrPart(types.Part):
    """The bounds of OCR requests."""

    held_body: types.Size = Field(default=80_000_000, description="The largest request body that is held for a while.")
    held_bodies: types.Size = Field(default=256_000_000, description="All bodies that are held at the same time.")
    max_document: types.Size = Field(default=50_000_000, description="The largest document that is fetched by its URL.")


ModelList = SkipValidation[list[EntryPart]]
CredentialList = SkipValidation[list[CredentialPart]]
