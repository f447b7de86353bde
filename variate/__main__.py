from variate.cli import main

main()
