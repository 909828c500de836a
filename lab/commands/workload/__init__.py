"""servetwin workload: one file a verb."""

from cyclopts import App

from lab.commands.workload import compose, convert, describe, export, fit, make

app = App(name="workload", help="Make a workload, convert a public trace into one, describe it, fit a twin to it.")
app.command(make.make)
app.command(compose.compose)
app.command(convert.convert)
app.command(describe.describe)
app.command(fit.fit)
app.command(export.export)
