"""servetwin workload: one file a verb."""

from cyclopts import App

from lab.commands.workload import convert, make

app = App(name="workload", help="Make a workload, or convert a public trace into one.")
app.command(make.make)
app.command(convert.convert)
