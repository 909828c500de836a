"""Chat templates in the shapes that models have them, against transformers; and templates that harm or do not end."""

import pytest

pytest.importorskip("jinja2")

from realexec.chat_template import METER, ChatTemplate
from realexec.text import Message
from serving.errors import ConfigError, RequestError

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

TEMPLATES = {
    "chatml, a system message of its own": """\
{%- if messages[0]['role'] != 'system' %}
    {{- '<|im_start|>system\\nYou answer questions.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}""",
    "instructions, system inside the first one": """\
{%- if messages[0]['role'] == 'system' -%}
    {%- set system = messages[0]['content'] -%}{%- set rest = messages[1:] -%}
{%- else -%}
    {%- set system = false -%}{%- set rest = messages -%}
{%- endif -%}
{%- for message in rest -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception('roles must alternate: user, assistant') }}
    {%- endif -%}
    {%- if loop.first and system -%}
        {%- set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] -%}
    {%- else -%}
        {%- set content = message['content'] -%}
    {%- endif -%}
    {%- if message['role'] == 'user' -%}
        {{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}
    {%- else -%}
        {{ ' ' ~ content | trim ~ ' ' ~ eos_token }}
    {%- endif -%}
{%- endfor -%}""",
    "headers": """\
{{- bos_token }}
{%- if tools is not none %}{{- raise_exception('no tools') }}{%- endif %}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}""",
    "thoughts of the past left out": """\
{%- set ns = namespace(last=-1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if ns.last < 0 and message.role == 'user' and not message.content.startswith('<tool>') %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'assistant' and '</think>' in content and loop.index0 < ns.last %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ content ~ '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}""",
    "macros, breaks, json and marks for training": """\
{% macro turn(message, mark='#') %}
{{ mark * 2 }} {{ message.role | upper | replace('SYSTEM', 'S') }}: {{ {'text': message.content} | tojson }}
{% endmacro %}
{% for message in messages %}
    {% if loop.index > 5 %}{% break %}{% endif %}
    {% if message.role == 'assistant' %}
{% generation %}{{ turn(message) }}{% endgeneration %}
    {% else %}
{{ turn(message, mark='-') }}
    {% endif %}
{% endfor %}
{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join(', ') | title }}""",
}

CONVERSATIONS = [
    [("user", "Hi")],
    [("system", "Be brief."), ("user", " What is 1 + 1?\n")],
    [("user", "a"), ("assistant", "<think>\nhm\n</think>\n\nb "), ("user", "<tool> é 你好 \"quoted\" <&> 'x'")],
    [("system", ""), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")],
    [("user", "a"), ("user", "b")],
]


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_text_equals_transformers(name, conversation) -> None:
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    import jinja2

    messages = [{"role": role, "content": content} for role, content in conversation]
    template = ChatTemplate(TEMPLATES[name], TOKENS, "here")
    asked = [Message(*one) for one in conversation]
    try:
        theirs, _ = utils.render_jinja_template([messages], None, None, TEMPLATES[name], False, False, True, **TOKENS)
    except jinja2.TemplateError as error:
        with pytest.raises(RequestError, match=str(error)):
            template.render(asked)
    else:
        assert template.render(asked) == theirs[0]


def render(source: str, content: str = "x" * 1000) -> str:
    return ChatTemplate(source, TOKENS, "here").render([Message("user", content)])


ENDLESS = {
    "loops in loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "loops over lists": "{% set l = range(9999) | list %}{% for i in l %}{% for j in l %}{% endfor %}{% endfor %}",
    "doubling by ~": "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "doubling by +": "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "doubling by a filter": (
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x | replace('a', 'aa') %}{% endfor %}"
    ),
    "doubling by a method": (
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = n.x.replace('a', 'aa') %}{% endfor %}"
    ),
    "doubling in a block": (
        "{% set n = namespace(x='a') %}{% for i in range(99) %}"
        "{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}{% endfor %}"
    ),
    "writing": "{% for i in range(99999) %}{{ messages[0].content }}{% endfor %}",
    "text of its own": "{% for i in range(99999) %}" + "much " * 99 + "{% endfor %}",
    "a product": "{{ 'a' * 9999999999 }}",
    "a product of lists": "{{ 9999999999 * [1] }}",
    "numbers": "{% set n = namespace(x=9) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "recursion that branches": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(90) }}"
    ),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_does_not_end_is_ended(name) -> None:
    with pytest.raises(RequestError, match=r"costs too much|recursion depth"):
        render(ENDLESS[name])


def test_a_long_conversation_is_not_too_much() -> None:
    template = ChatTemplate(TEMPLATES["thoughts of the past left out"], TOKENS, "here")
    messages = [Message("user", "y"), Message("assistant", "x" * 200)] * 2000
    assert len(template.render(messages)) > 400_000


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{{ raise_exception.__globals__.json }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ '{0.__class__}'.format(1) }}{{ '{0.__class__.__mro__}'.format(messages) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ lipsum() }}",
        "{{ strftime_now('%Y') }}",
        "{{ messages[7].content }}",
        "{{ 1 / 0 }}",
        "{{ bos_token + 1 }}",
    ],
)
def test_what_a_template_may_not_do_costs_the_request_alone(source) -> None:
    with pytest.raises(RequestError, match="chat template refuses the conversation"):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% for x in messages %}",
        "{{ 'x' | center(99999999999) }}",
        "{% for x in messages recursive %}{{ loop(messages) }}{% endfor %}",
        "{{ 9 ** 9 ** 9 }}",
        "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}x{% endcall %}",
        "{" + "% for a in b %}{" * 200,
    ],
)
def test_what_cannot_be_compiled_is_refused_with_its_place(source) -> None:
    with pytest.raises(ConfigError, match="here: no template that can be used: "):
        ChatTemplate(source, {}, "here")


def test_content_is_never_a_template() -> None:
    assert render("{{ messages[0].content }}", "{{ 7 * 7 }}{% for %}") == "{{ 7 * 7 }}{% for %}"


def test_a_template_cannot_reach_the_meter() -> None:
    assert not METER.isidentifier()
    assert render("{{ self._TemplateReference__context is defined }}") == "False"
