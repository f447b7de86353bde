"""What everybody may use: errors, files, what people see while work goes on, settings of the process."""
